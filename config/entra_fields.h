/* What a row says about its credential of Entra ID, field by field: its own text, else that of the
 * environment's variables, which have LiteLLM's and azure-identity's names. */
#pragma once

#include "accounts.h"

enum entra_field {
    ENTRA_FIELD_TENANT,
    ENTRA_FIELD_CLIENT,
    ENTRA_FIELD_SECRET,
    ENTRA_FIELD_SECRET_PATH,
    ENTRA_FIELD_CERTIFICATE,
    ENTRA_FIELD_CERTIFICATE_PASSWORD,
    ENTRA_FIELD_SEND_CHAIN,
    ENTRA_FIELD_ASSERTION,
    ENTRA_FIELD_SCOPE,
    ENTRA_FIELD_AUTHORITY,
    ENTRA_FIELD_CLASS,
    ENTRA_FIELD_MANAGED_CLIENT,
    ENTRA_FIELD_MANAGED_OBJECT,
    ENTRA_FIELD_MANAGED_RESOURCE,
    ENTRA_FIELD_USERNAME,
    ENTRA_FIELD_PASSWORD
};
#define ENTRA_FIELDS 16

/* Whose credential it is. */
struct entra_row {
    const struct models_build *build;
    const struct accounts_source *source;
    const char *base; /* borrowed; the account's address */
};

/* A text, without the white space around it, and who is to blame for it. */
struct entra_value {
    const char *text; /* borrowed, not ended by a NUL; NULL: none */
    size_t len;
    const struct node *node; /* NULL: not the row's own */
    const char *variable;    /* constant or of the row; of the environment, or NULL */
};

/** "tenant_id". */
const char *entra_field_key(enum entra_field field);

/** The row's node; NULL: it has none, or one that says nothing. */
const struct node *entra_field_own(const struct accounts_source *source, enum entra_field field);

/** The first field that the row has; NULL: none. */
const struct node *entra_fields_first(const struct accounts_source *source);

/** Look through the row's own fields, once: white space around a value is warned of (entra statement
 * 25), one that has no text leaves the row out. @return false: reported */
bool entra_fields_check(const struct entra_row *row);

/** The row's own text, else the environment's, without white space around it. */
struct entra_value entra_field_value(const struct entra_row *row, enum entra_field field);

/** The same of a variable that no field stands for. @param name  constant */
struct entra_value entra_variable(const struct entra_row *row, const char *name);

/** "got ..., TEXT" at the place of a value. CONFIG_SKIPPED leaves the row out; of a variable it is an
 * error. @param key  of the row, when the value is from elsewhere: decides what is shown */
void entra_blame(const struct entra_row *row, const struct entra_value *value, const char *key,
                 enum config_severity severity, const char *text);

/** A note about a field that is missing in the row. */
void entra_missing(const struct entra_row *row, enum entra_field field, const char *text);

/** Whether all of a value is visible ASCII. */
bool entra_value_is_visible(const struct entra_value *value);

/** A copy; NULL: out of memory. Not for secrets. */
char *entra_value_copy(const struct entra_value *value);
