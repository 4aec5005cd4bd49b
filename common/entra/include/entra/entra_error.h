/* Why something of a credential cannot be used, for people. */
#pragma once

struct entra_error {
    /* One line without a full stop, printable; names files and settings, and never holds anything
     * of a secret, a key or an assertion */
    char message[256];
};
