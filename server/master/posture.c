/* See posture.h. */
#include "posture.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/environment.h"
#include "common/err.h"
#include "common/log.h"
#include "common/log_out.h"

#define MAX_DESCRIPTORS 65536
#define DEFAULT_USER    "tranche"

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

void posture_raise_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= MAX_DESCRIPTORS)
        return;
    limit.rlim_cur = limit.rlim_max < MAX_DESCRIPTORS ? limit.rlim_max : MAX_DESCRIPTORS;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

/* The order matters: groups are root's to change. */
static int change_to(const struct passwd *to)
{
    if (initgroups(to->pw_name, to->pw_gid) == -1 ||
        setresgid(to->pw_gid, to->pw_gid, to->pw_gid) == -1 ||
        setresuid(to->pw_uid, to->pw_uid, to->pw_uid) == -1)
        return ERR_IO;
    return setuid(0) == -1 ? 0 : ERR_IO; /* there is no way back */
}

bool posture_will_change(const char *user)
{
    const struct passwd *to = geteuid() == 0 ? getpwnam(user != NULL ? user : DEFAULT_USER) : NULL;

    return to != NULL && to->pw_uid != 0;
}

int posture_become(const char *user, bool core_dumps, char *error, size_t error_size)
{
    const struct passwd *to;

    if (geteuid() != 0)
        return 0;
    errno = 0;
    to = getpwnam(user != NULL ? user : DEFAULT_USER);
    if (to == NULL && user == NULL) {
        log_warn("running as root: a user of its own is safer (tranche_settings.user), nothing "
                 "here needs root's rights");
        return 0;
    }
    if (to == NULL) {
        snprintf(error, error_size, "tranche_settings.user: there is no user \"%.64s\"", user);
        return ERR_NOT_FOUND;
    }
    if (to->pw_uid == 0)
        return 0;
    log_out_give_files(to->pw_uid, to->pw_gid);
    if (change_to(to) != 0) {
        snprintf(error, error_size, "cannot become user \"%.64s\": %s", to->pw_name,
                 strerror(errno));
        return ERR_IO;
    }
    posture_set_cores(core_dumps); /* the change has reset it */
    log_info("running as user %s", to->pw_name);
    return 0;
}

void posture_drop_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};

    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (geteuid() != 0)
        (void)syscall(SYS_capset, &header, none);
}
