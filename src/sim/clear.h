/* Private to src/sim: what takes the place of TLS. */
#ifndef SIM_CLEAR_H
#define SIM_CLEAR_H

struct tls__functions;

/* Its contexts read no files, and what they secure goes in clear. */
extern const struct tls__functions sim__clear;

#endif
