// The arithmetic of a network, float32, for WebAssembly with SIMD. `make page-kernels` builds it.
//
// Pointers are places in the module's memory. Arrays are contiguous; integers and truth values are
// floats too. lowering.py says which kernels a network calls, in which order and on which places.

#include <wasm_simd128.h>

#define EXPORT(name) __attribute__((export_name(#name)))

typedef const float *Input;
typedef float *Output;

static inline v128_t splat(float value) { return wasm_f32x4_splat(value); }
static inline v128_t madd(v128_t a, v128_t b, v128_t sum) {
  return wasm_f32x4_add(wasm_f32x4_mul(a, b), sum);
}

// ---- Convolutions and products of matrices ------------------------------------------------------

// P outputs along a row, 4·V channels of each, over all taps and input channels.
#define BLOCK(P, V)                                                                               \
  static inline void block_##P##_##V(Input x, Input w, Output y, int row, int across, int ci,     \
                                     int co, int kh, int kw) {                                    \
    v128_t sums[P][V];                                                                            \
    for (int p = 0; p < P; p++)                                                                   \
      for (int v = 0; v < V; v++) sums[p][v] = splat(0);                                          \
    for (int i = 0; i < kh; i++) {                                                                \
      Input pixel = x + i * row;                                                                  \
      for (int k = 0; k < kw * ci; k++, w += co) {                                                \
        v128_t taps[V];                                                                           \
        for (int v = 0; v < V; v++) taps[v] = wasm_v128_load(w + 4 * v);                          \
        for (int p = 0; p < P; p++) {                                                             \
          v128_t value = wasm_v128_load32_splat(pixel + k + p * across);                          \
          for (int v = 0; v < V; v++) sums[p][v] = madd(value, taps[v], sums[p][v]);              \
        }                                                                                         \
      }                                                                                           \
    }                                                                                             \
    for (int p = 0; p < P; p++)                                                                   \
      for (int v = 0; v < V; v++) wasm_v128_store(y + p * co + 4 * v, sums[p][v]);                \
  }

BLOCK(4, 2)
BLOCK(4, 1)
BLOCK(1, 4)
BLOCK(1, 1)

static void single(Input x, Input w, Output y, int row, int ci, int co, int kh, int kw) {
  float sum = 0;
  for (int i = 0; i < kh; i++)
    for (int k = 0; k < kw * ci; k++, w += co) sum += x[i * row + k] * *w;
  *y = sum;
}

// x [height, width, ci], w [kh, kw, ci, co] -> y [oh, ow, co]; no padding.
EXPORT(conv)
void conv(Input x, Input w, Output y, int width, int ci, int oh, int ow, int co, int kh, int kw,
          int sy, int sx) {
  int row = width * ci, across = sx * ci, c = 0;
#define PIXELS(STEP, COUNT, CALL)                                                                 \
  for (; c + STEP <= co; c += STEP)                                                               \
    for (int i = 0; i < oh; i++)                                                                  \
      for (int j = 0; j < ow; j += COUNT) {                                                       \
        if (j + COUNT > ow) j = ow - COUNT; /* some outputs twice, none beyond the row */         \
        Input from = x + i * sy * row + j * across;                                               \
        Output to = y + (i * ow + j) * co + c;                                                    \
        CALL;                                                                                     \
      }
  if (ow >= 4) {
    PIXELS(8, 4, block_4_2(from, w + c, to, row, across, ci, co, kh, kw))
    PIXELS(4, 4, block_4_1(from, w + c, to, row, across, ci, co, kh, kw))
  } else {
    PIXELS(16, 1, block_1_4(from, w + c, to, row, across, ci, co, kh, kw))
    PIXELS(4, 1, block_1_1(from, w + c, to, row, across, ci, co, kh, kw))
  }
  PIXELS(1, 1, single(from, w + c, to, row, ci, co, kh, kw))
}

// ---- Functions of one value ---------------------------------------------------------------------

// e^x (Cephes): 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2].
static v128_t exp4(v128_t x) {
  v128_t low = wasm_f32x4_lt(x, splat(-87.33654f)), high = wasm_f32x4_gt(x, splat(88.72283f));
  v128_t nan = wasm_f32x4_ne(x, x), given = x;
  x = wasm_f32x4_pmin(splat(88.72283f), wasm_f32x4_pmax(splat(-87.33654f), x));
  v128_t n = wasm_f32x4_nearest(wasm_f32x4_mul(x, splat(1.44269504088896341f)));
  x = madd(n, splat(-0.693359375f), x);
  x = madd(n, splat(2.12194440e-4f), x);
  v128_t y = splat(1.9875691500e-4f);
  y = madd(y, x, splat(1.3981999507e-3f));
  y = madd(y, x, splat(8.3334519073e-3f));
  y = madd(y, x, splat(4.1665795894e-2f));
  y = madd(y, x, splat(1.6666665459e-1f));
  y = madd(y, x, splat(5.0000001201e-1f));
  y = wasm_f32x4_add(madd(y, wasm_f32x4_mul(x, x), x), splat(1));
  // In two factors, for 2^128 is no float.
  v128_t whole = wasm_i32x4_trunc_sat_f32x4(n), half = wasm_i32x4_shr(whole, 1);
  v128_t rest = wasm_i32x4_sub(whole, half), bias = wasm_i32x4_splat(127);
  y = wasm_f32x4_mul(y, wasm_i32x4_shl(wasm_i32x4_add(half, bias), 23));
  y = wasm_f32x4_mul(y, wasm_i32x4_shl(wasm_i32x4_add(rest, bias), 23));
  y = wasm_v128_bitselect(splat(0), y, low);
  y = wasm_v128_bitselect(splat(__builtin_inff()), y, high);
  return wasm_v128_bitselect(given, y, nan);
}

// ln x (Cephes), also of denormal numbers.
static v128_t log4(v128_t x) {
  v128_t given = x, tiny = wasm_f32x4_lt(x, splat(1.17549435e-38f));
  x = wasm_v128_bitselect(wasm_f32x4_mul(x, splat(8388608.0f)), x, tiny);
  v128_t shift = wasm_v128_and(tiny, splat(23));
  v128_t e = wasm_i32x4_sub(wasm_u32x4_shr(x, 23), wasm_i32x4_splat(126));
  x = wasm_v128_or(wasm_v128_and(x, wasm_i32x4_splat(0x007fffff)), splat(0.5f));
  v128_t exponent = wasm_f32x4_sub(wasm_f32x4_convert_i32x4(e), shift);
  v128_t small = wasm_f32x4_lt(x, splat(0.707106781186547524f));
  exponent = wasm_f32x4_sub(exponent, wasm_v128_and(small, splat(1)));
  x = wasm_f32x4_sub(wasm_f32x4_add(x, wasm_v128_and(small, x)), splat(1));
  v128_t square = wasm_f32x4_mul(x, x), y = splat(7.0376836292e-2f);
  y = madd(y, x, splat(-1.1514610310e-1f));
  y = madd(y, x, splat(1.1676998740e-1f));
  y = madd(y, x, splat(-1.2420140846e-1f));
  y = madd(y, x, splat(1.4249322787e-1f));
  y = madd(y, x, splat(-1.6668057665e-1f));
  y = madd(y, x, splat(2.0000714765e-1f));
  y = madd(y, x, splat(-2.4999993993e-1f));
  y = madd(y, x, splat(3.3333331174e-1f));
  y = wasm_f32x4_mul(wasm_f32x4_mul(y, x), square);
  y = madd(exponent, splat(-2.12194440e-4f), y);
  y = madd(square, splat(-0.5f), y);
  y = madd(exponent, splat(0.693359375f), wasm_f32x4_add(x, y));
  v128_t infinite = wasm_f32x4_eq(given, splat(__builtin_inff()));
  y = wasm_v128_bitselect(given, y, infinite);
  y = wasm_v128_bitselect(splat(-__builtin_inff()), y, wasm_f32x4_eq(given, splat(0)));
  v128_t valid = wasm_f32x4_ge(given, splat(0));  // neither negative nor NaN
  return wasm_v128_bitselect(y, splat(__builtin_nanf("")), valid);
}

// ln(1 + x) = ln(u) x / (u − 1) with u = 1 + x rounded, and e^x − 1 = (u − 1) x / ln(u) with
// u = e^x rounded: the errors of u cancel (Kahan).
static v128_t log1p4(v128_t x) {
  v128_t u = wasm_f32x4_add(splat(1), x), difference = wasm_f32x4_sub(u, splat(1));
  v128_t y = wasm_f32x4_mul(log4(u), wasm_f32x4_div(x, difference));
  v128_t infinite = wasm_f32x4_eq(u, splat(__builtin_inff()));
  y = wasm_v128_bitselect(x, y, wasm_f32x4_eq(difference, splat(0)));
  return wasm_v128_bitselect(u, y, infinite);
}

static v128_t expm14(v128_t x) {
  v128_t u = exp4(x), difference = wasm_f32x4_sub(u, splat(1));
  v128_t y = wasm_f32x4_mul(difference, wasm_f32x4_div(x, log4(u)));
  y = wasm_v128_bitselect(x, y, wasm_f32x4_eq(difference, splat(0)));
  // From here on e^x itself is exact enough, and its logarithm may be infinite.
  return wasm_v128_bitselect(y, difference, wasm_f32x4_lt(wasm_f32x4_abs(x), splat(1)));
}

static v128_t logistic4(v128_t x) {
  return wasm_f32x4_div(splat(1), wasm_f32x4_add(splat(1), exp4(wasm_f32x4_neg(x))));
}

static v128_t tanh4(v128_t x) {
  v128_t u = expm14(wasm_f32x4_mul(splat(-2), wasm_f32x4_abs(x)));
  v128_t y = wasm_f32x4_div(wasm_f32x4_neg(u), wasm_f32x4_add(u, splat(2)));
  return wasm_v128_bitselect(x, y, splat(-0.0f));  // the sign of x
}

static v128_t sign4(v128_t x) {
  v128_t one = wasm_v128_bitselect(x, splat(1), splat(-0.0f));
  return wasm_v128_bitselect(one, x, wasm_f32x4_gt(wasm_f32x4_abs(x), splat(0)));
}

static v128_t truth(v128_t mask) { return wasm_v128_and(mask, splat(1)); }

// The whole blocks of four, then the last values through a block of their own.
#define MAP(name, formula)                                                                        \
  EXPORT(name) void name##_(Input x, Output y, int n) {                                           \
    int i = 0;                                                                                    \
    for (; i + 4 <= n; i += 4) {                                                                  \
      v128_t a = wasm_v128_load(x + i);                                                           \
      wasm_v128_store(y + i, formula);                                                            \
    }                                                                                             \
    for (; i < n; i++) {                                                                          \
      v128_t a = wasm_v128_load32_zero(x + i);                                                    \
      y[i] = wasm_f32x4_extract_lane(formula, 0);                                                 \
    }                                                                                             \
  }

MAP(exp, exp4(a))
MAP(log, log4(a))
MAP(log1p, log1p4(a))
MAP(expm1, expm14(a))
MAP(logistic, logistic4(a))
MAP(tanh, tanh4(a))
MAP(sign, sign4(a))
MAP(neg, wasm_f32x4_neg(a))
MAP(abs, wasm_f32x4_abs(a))
MAP(sqrt, wasm_f32x4_sqrt(a))
MAP(rsqrt, wasm_f32x4_div(splat(1), wasm_f32x4_sqrt(a)))
MAP(square, wasm_f32x4_mul(a, a))
MAP(floor, wasm_f32x4_floor(a))
MAP(round, wasm_f32x4_nearest(a))
MAP(trunc, wasm_f32x4_trunc(a))
MAP(not, truth(wasm_f32x4_eq(a, splat(0))))
MAP(is_finite, truth(wasm_f32x4_lt(wasm_f32x4_abs(a), splat(__builtin_inff()))))

// ---- Functions of two values --------------------------------------------------------------------

// Of n values; of a and b the first na and nb are there, and repeat.
#define MAP2(name, formula)                                                                       \
  EXPORT(name) void name##_(Input x, int na, Input z, int nb, Output y, int n) {                  \
    int period = na < nb ? na : nb;                                                               \
    if (period == 1) period = n;                                                                  \
    for (int begin = 0; begin < n; begin += period) {                                             \
      Input p = na == 1 ? x : x + begin % na, q = nb == 1 ? z : z + begin % nb;                   \
      int i = 0;                                                                                  \
      for (; i + 4 <= period; i += 4) {                                                           \
        v128_t a = na == 1 ? wasm_v128_load32_splat(p) : wasm_v128_load(p + i);                   \
        v128_t b = nb == 1 ? wasm_v128_load32_splat(q) : wasm_v128_load(q + i);                   \
        wasm_v128_store(y + begin + i, formula);                                                  \
      }                                                                                           \
      for (; i < period; i++) {                                                                   \
        v128_t a = wasm_v128_load32_zero(p + (na == 1 ? 0 : i));                                  \
        v128_t b = wasm_v128_load32_zero(q + (nb == 1 ? 0 : i));                                  \
        y[begin + i] = wasm_f32x4_extract_lane(formula, 0);                                       \
      }                                                                                           \
    }                                                                                             \
  }

MAP2(add, wasm_f32x4_add(a, b))
MAP2(sub, wasm_f32x4_sub(a, b))
MAP2(mul, wasm_f32x4_mul(a, b))
MAP2(div, wasm_f32x4_div(a, b))
MAP2(max, wasm_f32x4_max(a, b))
MAP2(min, wasm_f32x4_min(a, b))
MAP2(eq, truth(wasm_f32x4_eq(a, b)))
MAP2(ne, truth(wasm_f32x4_ne(a, b)))
MAP2(lt, truth(wasm_f32x4_lt(a, b)))
MAP2(le, truth(wasm_f32x4_le(a, b)))
MAP2(gt, truth(wasm_f32x4_gt(a, b)))
MAP2(ge, truth(wasm_f32x4_ge(a, b)))

// b where the condition is not 0, else a.
EXPORT(select) void select_(Input condition, Input a, Input b, Output y, int n) {
  for (int i = 0; i < n; i++) y[i] = condition[i] != 0 ? b[i] : a[i];
}

// ---- Reductions over the middle of [outer, n, inner] --------------------------------------------

#define REDUCE(name, initial, formula)                                                            \
  EXPORT(name) void name(Input x, Output y, int outer, int n, int inner) {                        \
    for (int o = 0; o < outer; o++, x += n * inner, y += inner) {                                 \
      int i = 0;                                                                                  \
      for (; i + 4 <= inner; i += 4) {                                                            \
        v128_t a = splat(initial);                                                                \
        for (int k = 0; k < n; k++) {                                                             \
          v128_t b = wasm_v128_load(x + k * inner + i);                                           \
          a = formula;                                                                            \
        }                                                                                         \
        wasm_v128_store(y + i, a);                                                                \
      }                                                                                           \
      for (; i < inner; i++) {                                                                    \
        v128_t a = splat(initial);                                                                \
        for (int k = 0; k < n; k++) {                                                             \
          v128_t b = wasm_v128_load32_splat(x + k * inner + i);                                   \
          a = formula;                                                                            \
        }                                                                                         \
        y[i] = wasm_f32x4_extract_lane(a, 0);                                                     \
      }                                                                                           \
    }                                                                                             \
  }

REDUCE(reduce_sum, 0, wasm_f32x4_add(a, b))
REDUCE(reduce_max, -__builtin_inff(), wasm_f32x4_max(a, b))
REDUCE(reduce_min, __builtin_inff(), wasm_f32x4_min(a, b))

EXPORT(argmax) void argmax(Input x, Output y, int outer, int n, int inner) {
  for (int o = 0; o < outer; o++)
    for (int i = 0; i < inner; i++) {
      Input values = x + o * n * inner + i;
      int best = 0;
      for (int k = 1; k < n; k++)
        if (values[k * inner] > values[best * inner]) best = k;
      y[o * inner + i] = (float)best;
    }
}

EXPORT(cumsum) void cumsum(Input x, Output y, int outer, int n, int inner) {
  for (int o = 0; o < outer; o++)
    for (int i = 0; i < inner; i++) {
      float sum = 0;
      for (int k = 0; k < n; k++) {
        sum += x[(o * n + k) * inner + i];
        y[(o * n + k) * inner + i] = sum;
      }
    }
}

// ---- Moving values ------------------------------------------------------------------------------

EXPORT(fill) void fill(Output y, float value, int n) {
  for (int i = 0; i < n; i++) y[i] = value;
}

// y[Σ iₖ tₖ] = x[Σ iₖ sₖ] for all iₖ < nₖ.
EXPORT(move)
void move(Input x, Output y, int n0, int n1, int n2, int n3, int n4, int s0, int s1, int s2, int s3,
          int s4, int t0, int t1, int t2, int t3, int t4) {
  for (int a = 0; a < n0; a++)
    for (int b = 0; b < n1; b++)
      for (int c = 0; c < n2; c++)
        for (int d = 0; d < n3; d++) {
          Input from = x + a * s0 + b * s1 + c * s2 + d * s3;
          Output to = y + a * t0 + b * t1 + c * t2 + d * t3;
          if (s4 == 1 && t4 == 1)
            __builtin_memcpy(to, from, n4 * sizeof(float));
          else
            for (int e = 0; e < n4; e++) to[e * t4] = from[e * s4];
        }
}

// A slice of n values from the place Σ indexₖ strideₖ, with each index kept from 0 to mostₖ.
EXPORT(place)
int place(Input index, int stride, int most) {
  int value = (int)*index;
  return stride * (value < 0 ? 0 : value > most ? most : value);
}
