/* The parts of the page, as they stand in page/: made by embed.cmake at build time. */
#pragma once

#include <stddef.h>

extern const unsigned char page_html[], page_css[], page_js[];
extern const size_t page_html_len, page_css_len, page_js_len;
