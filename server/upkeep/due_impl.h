/* What the files of the due list share: one task of the keeper, and how it is ended. */
#pragma once

#include "crypto/ids.h"
#include "due.h"
#include "journal/journal.h"
#include "journal/seen.h"
#include "usage/pass.h"

/* One task, from the keeper's list to the report. */
struct due_task {
    struct due *due;                /* borrowed; NULL: free */
    struct upkeep_account *account; /* borrowed */
    struct wire_due wire;           /* its texts are those below */
    char native[WIRE_MAX_ID + 1], id[WIRE_ID + 1], claim[WIRE_ID + 1], nonce[WIRE_ID + 1];
    uint64_t since_ms; /* it is claimed, or the claim was named again */
    uint64_t moment;   /* polls_moment() from before its batch was asked for */
    /* Of a batch that was shown; owned */
    struct json_doc *doc; /* NULL: none was */
    struct wire_seen *seen;
    struct strbuf errors;
    struct marker marker;        /* ours, where seen->nonce is set */
    struct usage_counts counts;  /* of the batch, or of its output */
    struct usage_pass *pass;     /* owned; NULL: its output is not being read */
    bool wants_pass;             /* ... and waits for that */
    struct upkeep_call *reading; /* borrowed; while its output is being read */
    uint64_t moved_ms;           /* when DUE_MOVE bytes of it had come for the last time ... */
    size_t moved;                /* ... and those since then */
    bool waits_to_move;          /* MOVE: for its turn (mover.h) */
    /* FIND: */
    uint64_t page_age_ms;
    bool found;
};

/* Lists being read for a rebuild: account by account. */
struct due_build {
    uint32_t number; /* 0: none */
    size_t at;       /* the account */
    uint32_t unread;
    bool cut; /* the account's list was left: its batches come too fast */
    bool done;
};

struct due {
    struct upkeep *upkeep;     /* borrowed */
    struct journal *journal;   /* owned */
    struct ask *ask;           /* owned */
    struct journal_call *call; /* a question on its way */
    struct loop_timer tick;
    uint64_t heard_ms; /* the keeper's last answer; 0: none yet */
    struct due_task tasks[WIRE_MAX_DUE];
    unsigned moving; /* batches: mover.c */
    struct due_build build;
};

/** The task is over, whatever came of it: its claim runs out by itself, or was given back. */
void due_task_end(struct due_task *task);

/** Delete a file, or ask which files a batch has that are to be deleted. Ends the task. */
void due_delete_start(struct due_task *task);

/** Look for the batch of a create in its account's list. Ends the task. */
void due_find_start(struct due_task *task);

/** Read all lists for the rebuild of that number, unless that is under way, or done. */
void due_build_start(struct due *due, uint32_t number);
