/* See posture.h. */
#include "posture.h"

#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/environment.h"
#include "common/err.h"
#include "common/log.h"

/* libcurl writes the secrets of its TLS sessions there, and with them everybody who has recorded
 * the traffic reads the providers' keys. */
static void warn_about_key_log(void)
{
    const char *file = environment_get("SSLKEYLOGFILE");

    if (file != NULL && *file != '\0')
        log_warn("SSLKEYLOGFILE is set and ignored: no secrets of TLS sessions are written");
}

void posture_init(void)
{
    umask(077);
    posture_set_cores(false); /* until a configuration allows them */
    if (environment_take() != 0)
        log_warn("the environment could not be hidden: %s", err_str(ERR_NOMEM));
    warn_about_key_log();
    if (geteuid() == 0)
        log_warn("running as root: a user of its own is safer, nothing here needs root's rights");
}

void posture_set_cores(bool allowed)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_CORE, &limit) == 0) {
        limit.rlim_cur = allowed ? limit.rlim_max : 0;
        (void)setrlimit(RLIMIT_CORE, &limit);
    }
    (void)prctl(PR_SET_DUMPABLE, allowed ? 1 : 0);
}

void posture_forbid_new_privileges(void)
{
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}
