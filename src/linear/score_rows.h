/* The scores of rows of one element type: REAL, VECTOR (some of its numbers) and NAME are given by whoever includes this.
 *
 * Several rows at a time share the loads of what is the same for all. A row's products are added up in LANES lanes, and the
 * lanes by halves, whatever the width of a vector; so the bits are those of gdfast/reference/linear.py. What the last lanes
 * hold after the last column is the next row's, finite as all data is, and multiplied by zero: that changes no sum. */
enum {
    GDFAST_OF(NAME, width) = sizeof(VECTOR) / sizeof(REAL),
    GDFAST_OF(NAME, parts) = GDFAST_LANES / GDFAST_OF(NAME, width),
    /* as many as leave registers free */
    GDFAST_OF(NAME, rows) = GDFAST_OF(NAME, parts) > 4 ? 1 : GDFAST_OF(NAME, parts) > 2 ? 2 : 4
};

/* The sum of a row's lanes. */
static inline REAL GDFAST_OF(NAME, tree)(const VECTOR *sums)
{
    REAL lanes[16], eight[8], four[4];
    memcpy(lanes, sums, sizeof lanes);
#if defined(__GNUC__)
    typedef REAL of_eight __attribute__((vector_size(8 * sizeof(REAL)), aligned(sizeof(REAL)), may_alias));
    typedef REAL of_four __attribute__((vector_size(4 * sizeof(REAL)), aligned(sizeof(REAL)), may_alias));
    *(of_eight *)eight = *(of_eight *)lanes + *(of_eight *)(lanes + 8);
    *(of_four *)four = *(of_four *)eight + *(of_four *)(eight + 4);
#else
    for (int k = 0; k < 8; k++)
        eight[k] = lanes[k] + lanes[k + 8];
    for (int k = 0; k < 4; k++)
        four[k] = eight[k] + eight[k + 4];
#endif
    return (four[0] + four[2]) + (four[1] + four[3]);
}

/* LANES columns of each row: standardised into the tile, and their products with the coefficients added to the sums. */
static inline void GDFAST_OF(NAME, lanes)(
    VECTOR sums[][GDFAST_OF(NAME, parts)], REAL **out, const REAL **row, const REAL **coming, const REAL *mean,
    const REAL *inv_scale, const REAL *coef, ptrdiff_t at)
{
    GDFAST_UNROLL for (int r = 0; r < GDFAST_OF(NAME, rows); r++)
        for (int k = 0; k < GDFAST_LANES; k += 64 / sizeof(REAL))
            gdfast_prefetch_read(coming[r] + at + k);
    GDFAST_UNROLL for (int p = 0; p < GDFAST_OF(NAME, parts); p++) {
        ptrdiff_t k = at + p * GDFAST_OF(NAME, width);
        VECTOR offset = *(const VECTOR *)(mean + k), scale = *(const VECTOR *)(inv_scale + k);
        VECTOR weight = *(const VECTOR *)(coef + k);
        GDFAST_UNROLL for (int r = 0; r < GDFAST_OF(NAME, rows); r++) {
            VECTOR x = (*(const VECTOR *)(row[r] + k) - offset) * scale;
            *(VECTOR *)(out[r] + k) = x;
            sums[r][p] += x * weight;
        }
    }
}

static void GDFAST_OF(NAME, score_rows)(
    double *score, REAL *tile, const REAL *coef, const REAL *intercept, ptrdiff_t n, ptrdiff_t coming, ptrdiff_t padded,
    const REAL *data, ptrdiff_t data_rows, const ptrdiff_t *rows, ptrdiff_t columns, const REAL *mean,
    const REAL *inv_scale)
{
    enum { ROWS = GDFAST_OF(NAME, rows), PARTS = GDFAST_OF(NAME, parts) };
    const ptrdiff_t whole = columns - columns % GDFAST_LANES;
    const REAL *end = data + data_rows * columns;
    for (ptrdiff_t i = 0; i < n; i += ROWS) {
        VECTOR sums[ROWS][PARTS];
        REAL edge[ROWS][GDFAST_LANES];
        const REAL *row[ROWS], *next[ROWS];
        REAL *out[ROWS];
        const int fetches = i + ROWS + GDFAST_AHEAD <= n + coming;
        GDFAST_UNROLL for (int r = 0; r < ROWS; r++) {
            ptrdiff_t at = i + r < n ? i + r : n - 1; /* the last row again where there are no more */
            row[r] = data + rows[at] * columns;
            out[r] = tile + at * padded;
            next[r] = fetches ? data + rows[i + r + GDFAST_AHEAD] * columns : row[r];
            GDFAST_UNROLL for (int p = 0; p < PARTS; p++)
                sums[r][p] = (VECTOR){0};
        }
        for (ptrdiff_t j = 0; j < whole; j += GDFAST_LANES)
            GDFAST_OF(NAME, lanes)(sums, out, row, next, mean, inv_scale, coef, j);
        if (whole < padded) { /* the lanes after the last column take the next row's numbers, and multiply by zero */
            GDFAST_UNROLL for (int r = 0; r < ROWS; r++)
                if (end - row[r] < padded) {
                    memset(edge[r], 0, sizeof edge[r]);
                    memcpy(edge[r], row[r] + whole, (columns - whole) * sizeof(REAL));
                    row[r] = edge[r] - whole;
                }
            GDFAST_OF(NAME, lanes)(sums, out, row, next, mean, inv_scale, coef, whole);
        }
        GDFAST_UNROLL for (int r = 0; r < ROWS; r++)
            score[i + r < n ? i + r : n - 1] = GDFAST_OF(NAME, tree)(sums[r]) + intercept[0];
    }
}
