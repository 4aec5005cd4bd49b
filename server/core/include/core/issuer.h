/* What keeper and workers must agree on about the keys of the tokens' issuer (tenants statement
 * A56). */
#pragma once

#define ISSUER_APART_MS 30000       /* least time between two questions to the issuer */
#define ISSUER_OLD_S    (24 * 3600) /* keys that it has not confirmed for so long are none */
