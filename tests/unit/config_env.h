/* Whatever a developer's shell holds must not decide a test of the configuration. */
#pragma once

#include <stdlib.h>

static inline void env_clean(void)
{
    static const char *const names[] = {"OPENAI_API_KEY",
                                        "OPENAI_BASE_URL",
                                        "OPENAI_API_BASE",
                                        "OPENAI_ORGANIZATION",
                                        "OPENAI_ORG_ID",
                                        "OPENAI_PROJECT_ID",
                                        "AZURE_API_KEY",
                                        "AZURE_OPENAI_API_KEY",
                                        "AZURE_API_BASE",
                                        "AZURE_API_VERSION",
                                        "AZURE_AD_TOKEN",
                                        "AZURE_TENANT_ID",
                                        "AZURE_CLIENT_ID",
                                        "AZURE_CLIENT_SECRET",
                                        "AZURE_CLIENT_CERTIFICATE_PATH",
                                        "AZURE_CERTIFICATE_PATH",
                                        "AZURE_CLIENT_CERTIFICATE_PASSWORD",
                                        "AZURE_CERTIFICATE_PASSWORD",
                                        "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN",
                                        "AZURE_FEDERATED_TOKEN_FILE",
                                        "AZURE_SCOPE",
                                        "AZURE_AUTHORITY_HOST",
                                        "AZURE_CREDENTIAL",
                                        "AZURE_USERNAME",
                                        "AZURE_PASSWORD",
                                        "AZURE_KUBERNETES_TOKEN_PROXY",
                                        "AZURE_POD_IDENTITY_AUTHORITY_HOST",
                                        "IDENTITY_ENDPOINT",
                                        "IDENTITY_HEADER",
                                        "IDENTITY_SERVER_THUMBPRINT",
                                        "MSI_ENDPOINT",
                                        "MSI_SECRET",
                                        "IMDS_ENDPOINT",
                                        "LITELLM_MASTER_KEY",
                                        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY",
                                        "HOST",
                                        "PORT",
                                        "NUM_WORKERS",
                                        "TMPDIR",
                                        "STATE_DIRECTORY",
                                        "TEST_KEY",
                                        "TEST_RPM",
                                        "TEST_BASE"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        unsetenv(names[i]);
}
