/* sort.h: the order of neurons. What lies between the matrices of a feed-forward block works on each column alone, so its columns may stand in
 * any order, if the rows that make them and the columns that read them agree. Sorted by what an error costs, rows of much and of little worth come
 * into row blocks of their own, with depths of their own. */
#ifndef XQ_SORT_H
#define XQ_SORT_H
#include "compress/job.h"

/* Marks the matrices that can be sorted: one value is made of them by functions of single columns, nothing is added to their outputs, nothing else
 * reads what lies between, and only linears read that value. */
void xq_sort_find(struct xq_job *job);
/* Once worths are measured: puts the rows of those in the order of falling worth (of all that make one value, each with its mean as unit), and
 * their worths with them. */
bl_status xq_sort(struct xq_job *job) BL_MUST_USE;
#endif
