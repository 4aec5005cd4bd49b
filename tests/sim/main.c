/* tranche-sim --config sim.json [--data-dir DIR] [--threads 1]: see README.md. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <openssl/ssl.h>

#include "config.h"
#include "entra.h"
#include "http.h"
#include "journal.h"

static volatile int stop;

static void on_signal(int signum)
{
    (void)signum;
    stop = 1;
}

static void set_signals(void)
{
    struct sigaction sa = {.sa_handler = on_signal};

    sigset_t blocked;

    sigemptyset(&blocked); /* they arrive while epoll_pwait() waits, and nowhere else */
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGINT);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGINT, &sa, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static void raise_limits(void)
{
    struct rlimit rl;

    if (getrlimit(RLIMIT_NOFILE, &rl) == -1)
        return;
    rl.rlim_cur = rl.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &rl);
}

static int make_data_dir(struct sim *sim, const char *dir)
{
    const char *base = getenv("TMPDIR");
    char path[4096];

    if (dir != NULL) {
        sim->data_dir = sim_strdup(dir);
        return access(dir, W_OK);
    }
    snprintf(path, sizeof(path), "%s/tranche-sim-XXXXXX", base != NULL ? base : "/tmp");
    if (mkdtemp(path) == NULL)
        return -1;
    sim->data_dir = sim_strdup(path);
    sim->own_dir = true;
    return 0;
}

static int open_ports(struct server *srv, struct sim *sim)
{
    if (http_listen(srv, sim->control) != 0) {
        perror("tranche-sim: control port");
        return -1;
    }
    for (size_t i = 0; i < sim->n_accounts; i++) {
        if (http_listen(srv, sim->accounts[i]) != 0) {
            fprintf(stderr, "tranche-sim: port %d: ", sim->accounts[i]->port);
            perror(sim->accounts[i]->name);
            return -1;
        }
    }
    return 0;
}

static void announce(const struct sim *sim)
{
    struct strbuf out = STRBUF_INIT;

    strbuf_addf(&out, "{\"control\":%d,\"accounts\":{", sim->control->port);
    for (size_t i = 0; i < sim->n_accounts; i++)
        put_int(&out, sim->accounts[i]->name, sim->accounts[i]->port);
    strbuf_adds(&out, "}}");
    puts(strbuf_str(&out));
    fflush(stdout);
    strbuf_deinit(&out);
}

static void free_account(struct account *acc)
{
    for (size_t i = 0; i < acc->n_deployments; i++) {
        free(acc->deployments[i]->name);
        free(acc->deployments[i]->model);
        free(acc->deployments[i]->sku);
        free(acc->deployments[i]->shutdown_date);
        free(acc->deployments[i]);
    }
    for (size_t i = 0; i < acc->n_tokens; i++)
        free(acc->tokens[i]);
    SSL_CTX_free(acc->tls);
    switches_deinit(&acc->sw);
    switches_deinit(&acc->sw_start);
    journal_free(acc->journal);
    free(acc->deployments);
    free(acc->tokens);
    free(acc->files);
    free(acc->batches);
    free(acc->name);
    free(acc->key);
    free(acc->organization);
    free(acc->project);
    entra_free(acc);
    free(acc);
}

static void free_sim(struct sim *sim)
{
    sim_reset(sim);
    for (size_t i = 0; i < sim->n_accounts; i++)
        free_account(sim->accounts[i]);
    if (sim->control != NULL)
        free_account(sim->control);
    free(sim->accounts);
    free(sim->tokens);
    json_doc_free(sim->config);
    if (sim->own_dir)
        (void)rmdir(sim->data_dir);
    free(sim->data_dir);
}

static int usage(void)
{
    fprintf(stderr, "usage: tranche-sim --config sim.json [--data-dir DIR] [--threads 1]\n"
                    "       tranche-sim --switches\n");
    return 2;
}

static int serve(struct sim *sim)
{
    struct server *srv = http_new(sim);
    int rc = open_ports(srv, sim);

    if (rc == 0) {
        announce(sim);
        http_run(srv, &stop);
    }
    http_free(srv);
    return rc == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"data-dir", required_argument, NULL, 'd'},
                                            {"threads", required_argument, NULL, 't'},
                                            {"switches", no_argument, NULL, 's'},
                                            {NULL, 0, NULL, 0}};
    const char *config = NULL, *dir = NULL;
    struct sim sim = {0};
    int rc = 1;

    for (int opt; (opt = getopt_long(argc, argv, "c:d:t:s", options, NULL)) != -1;) {
        if (opt == 'c')
            config = optarg;
        else if (opt == 'd')
            dir = optarg;
        else if (opt == 's')
            return switches_print(), 0;
        else if (opt != 't')
            return usage();
        else if (strcmp(optarg, "1") != 0)
            fprintf(stderr, "tranche-sim: one thread serves all ports, --threads %s is ignored\n",
                    optarg);
    }
    if (config == NULL)
        return usage();
    set_signals();
    raise_limits();
    sim_tick(&sim);
    if (make_data_dir(&sim, dir) == 0) {
        blob_set_dir(sim.data_dir);
        if (config_load(&sim, config) == 0)
            rc = serve(&sim);
    } else {
        perror("tranche-sim: data directory");
    }
    free_sim(&sim);
    return rc;
}
