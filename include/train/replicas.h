/* Guards against parameters that are no longer the same everywhere.
 *
 * Ranks, or nodes whose ranks share them, hold the parameters in replicas that must have the same
 * bits. Each hashes its own; one reduction of 16 bytes tells whether all are alike. With
 * parallel.shard none the optimizer's state is in replicas too and looked at as well.
 *
 * The hash: arrays are cut into chunks of REPLICA_CHUNK floats, numbered through all arrays; the
 * hash is the sum modulo 2^64 of mix(number · 2^32 + CRC-32C of the chunk), with splitmix64's
 * finalizer as mix, a bijection. So errors within 32 neighbouring bits of one chunk are always
 * found (a CRC finds such bursts), others but for a chance of 2^-32; and ranks that share a replica
 * add up what each hashes of it. Source: RFC 3720 appendix B.4; Steele, Lea & Flood 2014. */
#ifndef CARAT_TRAIN_REPLICAS_H
#define CARAT_TRAIN_REPLICAS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { REPLICA_CHUNK = 1 << 18 };

struct trainer;

struct replicas {
    int n;                  /* arrays: tensors, and slots of the optimizer's state in replicas */
    uint64_t *hash, *least; /* [n], [2·n]: what this rank hashed; on the way to all */
};

/* Makes room. E_MEM. Local. */
int replicas_init(struct trainer *t);
void replicas_release(struct replicas *r);

/* Adds part `part` of n_parts of an array's hash, whose chunks are counted on from *chunk: those
 * whose number is `part` modulo n_parts. Local. */
uint64_t replicas_hash(const float *x, size_t n, uint64_t *chunk, int part, int n_parts);

/* Compares all replicas; nothing where there is one. Where they differ: E_RANK on every rank, which
 * says the tensor and the ranks that are not with the majority; recorded as an event "replica".
 * Collective. E_RANK, E_MEM. */
int replicas_check(struct trainer *t);
/* The same in the steps of monitor.replicas_every, before the update: what gradients were taken at
 * is compared before the owners of its pieces write it anew. */
int replicas_due(struct trainer *t);
/* For tests: the fault point replica.flip flips a bit of this rank's replica; which one follows
 * from run.seed and the step. Local. */
void replicas_spoil(struct trainer *t);

#endif
