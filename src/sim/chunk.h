/* Private to src/sim: what compiled texts are kept with. */
#ifndef SIM_CHUNK_H
#define SIM_CHUNK_H

/* What is in that folder is ours, and known to work: hosts have it without the
 * numbers of lines and the names of locals. That is a tenth of their memory. */
void sim__chunk_strip(const char *folder);

#endif
