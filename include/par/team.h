/* Which ranks share memory: pure arithmetic. Ranks [j·per, (j+1)·per) are team j, all of them on
 * one node; the last team may have fewer. A team of one shares with nobody. */
#ifndef CARAT_PAR_TEAM_H
#define CARAT_PAR_TEAM_H

struct team {
    int size, per; /* ranks in all, ranks of a full team */
    int rank;      /* this one */
};

static inline int team_count(const struct team *t)
{
    return (t->size + t->per - 1) / t->per;
}

static inline int team_of(const struct team *t, int rank)
{
    return rank / t->per;
}

static inline int team_first(const struct team *t, int j)
{
    return j * t->per;
}

static inline int team_size(const struct team *t, int j)
{
    int left = t->size - j * t->per;
    return left < t->per ? left : t->per;
}

/* True on the first rank of a team. */
static inline int team_leads(const struct team *t)
{
    return t->rank % t->per == 0;
}

/* The rank of team j that deals with another team's rank: a team's work for the ranks of others is
 * spread over its members. */
static inline int team_proxy(const struct team *t, int j, int rank)
{
    return team_first(t, j) + rank % t->per % team_size(t, j);
}

/* True when this rank deals with a rank of another team. */
static inline int team_deals_with(const struct team *t, int rank)
{
    int mine = team_of(t, t->rank);
    return team_of(t, rank) != mine && team_proxy(t, mine, rank) == t->rank;
}

#endif
