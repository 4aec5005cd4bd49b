/* Work on texts that hold keys, done where no core looks. YAML parsers copy what they read into
 * buffers that grow, and let go of them unwiped: pieces of keys stay in the heap for as long as
 * nobody needs the place. glibc gives each thread a heap of its own (an arena), so such work is
 * done in a thread, whose heap and stack are left out of cores from then on (MADV_DONTDUMP). What
 * it allocated may be kept and freed by anybody. */
#pragma once

/** Call `body` in a thread of its own and wait for its end. Where there is no thread to be had it
 * is called here; with another allocator than glibc's it is a thread as any other. */
void hidden_run(void (*body)(void *), void *arg);
