//go:build h2spec

// Pins h2spec and what it needs: tests/integration/test_h2spec.py builds it from here.
package h2spec

import _ "github.com/summerwind/h2spec/cmd/h2spec"
