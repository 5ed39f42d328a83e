/* A network as people write it: "2us,25GB/s". */
#ifndef CARAT_CMD_NET_H
#define CARAT_CMD_NET_H

/* LATENCY,BANDWIDTH: seconds with s, ms, us or ns; bytes a second with k, M, G or T, as B/s or
 * bit/s. E_USAGE. Local. */
int net_parse(const char *text, double *latency_s, double *bytes_per_s);

#endif
