/* What the host of an address is, by its text alone: nobody is asked for names. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/** Where the host stands in an address (`scheme://host:port/path`, or without a scheme), brackets
 * of IPv6 included. @return its bytes */
size_t hosts_find(const char *base, const char **host);

/** Whether an address leads to this machine: 127.0.0.0/8, ::1 and localhost never leave it; nor does
 * 0.0.0.0, which LiteLLM's samples name (RFC 1122, section 3.2.1.3: this host). */
bool hosts_is_loopback(const char *base);

/** Whether it is a link-local or private IPv4 address, as four numbers: there platforms hand out
 * tokens to their machines, in the clear (upstream_options.allow_metadata lets them). */
bool hosts_is_of_platform(const char *base);

/** Whether it is 169.254.0.0/16 or fe80::/10 in whatever spelling libcurl reads: there a cloud
 * answers questions of the machine, its identity's token among them, to whoever may send a request
 * (entra statement 8). */
bool hosts_is_link_local(const char *base);
