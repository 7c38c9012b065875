// The two products of a decoding step on a CPU: each weight, key and value is read from memory once, in order.
//
// A row's sums are added in an order that depends on nothing but the length of the sum: not on the other rows, not on
// the number of threads. Vectors are the compiler's own (GCC, Clang), so any CPU will do.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <thread>
#include <vector>

#ifdef __AVX2__
#include <immintrin.h>
#endif

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

constexpr int64_t kLanes = 16;    // partial sums of a sum, on every CPU
constexpr int64_t kOutputs = 64;  // of a product, which a thread computes at a time
constexpr int64_t kAhead = 4;     // outputs, whose weights are fetched meanwhile
constexpr int64_t kRows = 64;     // whose activations stay in the cache of a core

#if defined(__AVX512F__)
constexpr int kParts = 1, kSums = 32;  // registers of a sum, and sums that all registers hold
#elif defined(__AVX2__)
constexpr int kParts = 2, kSums = 4;
#else
constexpr int kParts = 4, kSums = 2;
#endif
constexpr int kWidth = kLanes / kParts;

// A wider vector than a register would be held in memory.
using Floats = float __attribute__((vector_size(4 * kWidth), aligned(4)));
using Ints = int32_t __attribute__((vector_size(4 * kWidth)));
using Words = uint32_t __attribute__((vector_size(4 * kWidth)));
using Bytes = int8_t __attribute__((vector_size(kWidth), aligned(1)));
using Halves = uint16_t __attribute__((vector_size(2 * kWidth), aligned(2)));

struct Bfloat16 {
  uint16_t bits;
};

// GCC 12 converts generic vectors one number at a time, so that x86 has its own words for it.
inline Floats load(const float* w) { return *reinterpret_cast<const Floats*>(w); }
inline Floats load(const int8_t* w) {
#if defined(__AVX512F__)
  return (Floats)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(w))));
#elif defined(__AVX2__)
  return (Floats)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(w))));
#else
  return __builtin_convertvector(__builtin_convertvector(*reinterpret_cast<const Bytes*>(w), Ints), Floats);
#endif
}
inline Floats load(const Bfloat16* w) {
#if defined(__AVX512F__)
  return (Floats)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(w))), 16);
#elif defined(__AVX2__)
  return (Floats)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(w))), 16);
#else
  return (Floats)(__builtin_convertvector(*reinterpret_cast<const Halves*>(w), Words) << 16);
#endif
}
inline float one(const float* w) { return *w; }
inline float one(const int8_t* w) { return *w; }
inline float one(const Bfloat16* w) {
  uint32_t bits = static_cast<uint32_t>(w->bits) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline float sum(const Floats (&parts)[kParts]) {
#if defined(__AVX2__) && !defined(__AVX512F__)
  const __m256 eight = (__m256)(parts[0] + parts[1]);  // in registers: by way of memory eight rows took a sixth longer
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
#else
  float lanes[kLanes];
  std::memcpy(lanes, parts, sizeof lanes);
  for (int half = kLanes / 2; half; half /= 2)
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
#endif
}

// Runs f(0) ... f(n - 1) on this thread and those of the pool that come in time.
template <class F>
void share(ffi::ThreadPool& pool, int64_t n, F f) {
  struct Work {
    std::atomic<int64_t> next{0}, done{0};
  };
  auto work = std::make_shared<Work>();
  auto help = [work, n, f] {
    for (int64_t i; (i = work->next++) < n;) {
      f(i);
      work->done++;
    }
  };
  for (int64_t helper = std::min(n, pool.num_threads()); helper > 1; --helper) pool.Schedule([help] { help(); });
  help();
  while (work->done < n) std::this_thread::yield();
}

// sums[o][r] = w[o] . x[r] of kOut outputs and kIn rows.
template <int kOut, int kIn, class W>
void tile(const W* w, int64_t width, const float* const* x, float* const* y, int64_t at, const float* scale) {
  Floats sums[kOut][kIn][kParts] = {};
  int64_t i = 0;
  for (; i + kLanes <= width; i += kLanes) {
    for (int o = 0; o < kOut; ++o) __builtin_prefetch(w + (o + kAhead) * width + i);
    for (int p = 0; p < kParts; ++p) {
      Floats of_w[kOut];
      for (int o = 0; o < kOut; ++o) of_w[o] = load(w + o * width + i + p * kWidth);
      for (int r = 0; r < kIn; ++r) {
        Floats of_x = load(x[r] + i + p * kWidth);
        for (int o = 0; o < kOut; ++o) sums[o][r][p] += of_w[o] * of_x;
      }
    }
  }
  for (int o = 0; o < kOut; ++o)
    for (int r = 0; r < kIn; ++r) {
      float total = sum(sums[o][r]);
      for (int64_t j = i; j < width; ++j) total += one(w + o * width + j) * x[r][j];
      y[r][at + o] = scale ? total * scale[at + o] : total;
    }
}

template <int kIn, class W>
void outputs(const W* w, int64_t width, const float* const* x, float* const* y, int64_t from, int64_t to,
             const float* scale) {
  constexpr int kOut = kIn == 1 ? 1 : std::min(4, kSums / kIn);  // one row reads fastest in one stream
  int64_t o = from;
  for (; o + kOut <= to; o += kOut) tile<kOut, kIn>(w + o * width, width, x, y, o, scale);
  for (; o < to; ++o) tile<1, kIn>(w + o * width, width, x, y, o, scale);
}

template <class W>
void product(ffi::ThreadPool& pool, const float* x, const W* w, const float* scale, const int32_t* active, float* y,
             int64_t n_rows, int64_t n_out, int64_t width) {
  std::vector<const float*> from;
  std::vector<float*> to;
  for (int64_t r = 0; r < n_rows; ++r) {
    if (active[r]) {
      from.push_back(x + r * width);
      to.push_back(y + r * n_out);
    } else {
      std::memset(y + r * n_out, 0, n_out * sizeof(float));
    }
  }
  const int64_t n = from.size(), n_parts = (n_out + kOutputs - 1) / kOutputs;
  const float* const* xs = from.data();
  float* const* ys = to.data();
  for (int64_t first = 0; first < n; first += kRows) {
    const int64_t last = std::min(n, first + kRows);
    share(pool, n_parts, [=](int64_t part) {
      const int64_t end = std::min(n_out, (part + 1) * kOutputs);
      for (int64_t o = part * kOutputs; o < end; o += 4) {  // rows of w that stay in the nearest cache
        const int64_t stop = std::min(end, o + 4);
        int64_t r = first;
        if constexpr (kSums >= 8)
          for (; r + 8 <= last; r += 8) outputs<8>(w, width, xs + r, ys + r, o, stop, scale);
        if constexpr (kSums >= 4)
          for (; r + 4 <= last; r += 4) outputs<4>(w, width, xs + r, ys + r, o, stop, scale);
        for (; r + 2 <= last; r += 2) outputs<2>(w, width, xs + r, ys + r, o, stop, scale);
        for (; r < last; ++r) outputs<1>(w, width, xs + r, ys + r, o, stop, scale);
      }
    });
  }
}

// y = x w^T of the rows that are active, with the weight of one layer; rows that are not become zeros.
// An int8 weight has one scale for each output; others have none.
ffi::Error Product(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> x_RI, ffi::AnyBuffer w_LOI, ffi::Buffer<ffi::F32> scale_LO,
                   ffi::Buffer<ffi::S32> layer, ffi::Buffer<ffi::S32> active_R, ffi::ResultBuffer<ffi::F32> y_RO) {
  const int64_t n_rows = x_RI.dimensions()[0], width = x_RI.dimensions()[1], n_out = w_LOI.dimensions()[1];
  const int64_t at = *layer.typed_data();
  const float* scale = scale_LO.element_count() ? scale_LO.typed_data() + at * n_out : nullptr;
  auto run = [&](auto* w) {
    product(pool, x_RI.typed_data(), w + at * n_out * width, scale, active_R.typed_data(), y_RO->typed_data(), n_rows,
            n_out, width);
    return ffi::Error::Success();
  };
  switch (w_LOI.element_type()) {
    case ffi::F32:
      return run(static_cast<const float*>(w_LOI.untyped_data()));
    case ffi::BF16:
      return run(static_cast<const Bfloat16*>(w_LOI.untyped_data()));
    case ffi::S8:
      return run(static_cast<const int8_t*>(w_LOI.untyped_data()));
    default:
      return ffi::Error::InvalidArgument("weights are float32, bfloat16 or int8");
  }
}

inline float dot(const float* a, const float* b, int64_t width) {
  Floats sums[kParts] = {};
  int64_t i = 0;
  for (; i + kLanes <= width; i += kLanes)
    for (int p = 0; p < kParts; ++p) sums[p] += load(a + i + p * kWidth) * load(b + i + p * kWidth);
  float total = sum(sums);
  for (; i < width; ++i) total += a[i] * b[i];
  return total;
}

// Writes the key and value of each active row into its next slot, and mixes the values that its queries see.
ffi::Error Attend(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> q_RNH, ffi::Buffer<ffi::F32> k_RKH,
                  ffi::Buffer<ffi::F32> v_RKH, ffi::Buffer<ffi::F32>, ffi::Buffer<ffi::F32>,
                  ffi::Buffer<ffi::S32> layer, ffi::Buffer<ffi::S32> lengths_R, ffi::Buffer<ffi::S32> active_R,
                  ffi::ResultBuffer<ffi::F32> mixed_RNH, ffi::ResultBuffer<ffi::F32> keys_LRKSH,
                  ffi::ResultBuffer<ffi::F32> values_LRKSH) {
  const auto sides = keys_LRKSH->dimensions();
  const int64_t R = sides[1], K = sides[2], S = sides[3], H = sides[4], N = q_RNH.dimensions()[1], G = N / K;
  const int64_t at = *layer.typed_data() * R * K * S * H;
  const float *q = q_RNH.typed_data(), *k = k_RKH.typed_data(), *v = v_RKH.typed_data();
  const int32_t *lengths = lengths_R.typed_data(), *active = active_R.typed_data();
  float *mixed = mixed_RNH->typed_data(), *keys = keys_LRKSH->typed_data() + at;
  float* values = values_LRKSH->typed_data() + at;
  share(pool, R * K, [=](int64_t part) {
    const int64_t r = part / K, length = lengths[r];
    float* out = mixed + part * G * H;
    std::memset(out, 0, G * H * sizeof(float));
    if (!active[r] || length >= S) return;
    float *of_keys = keys + part * S * H, *of_values = values + part * S * H;
    std::memcpy(of_keys + length * H, k + part * H, H * sizeof(float));
    std::memcpy(of_values + length * H, v + part * H, H * sizeof(float));
    std::vector<float> scores(length + 1);
    for (int64_t g = 0; g < G; ++g, out += H) {
      const float* query = q + (part * G + g) * H;
      float most = -std::numeric_limits<float>::infinity(), total = 0, root = std::sqrt(static_cast<float>(H));
      for (int64_t s = 0; s <= length; ++s) most = std::max(most, scores[s] = dot(query, of_keys + s * H, H) / root);
      for (int64_t s = 0; s <= length; ++s) total += scores[s] = std::exp(scores[s] - most);
      for (int64_t s = 0; s <= length; ++s) {
        const float share_of_s = scores[s] / total, *value = of_values + s * H;
        for (int64_t h = 0; h < H; ++h) out[h] += share_of_s * value[h];
      }
    }
  });
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(gptjax_product, Product,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(gptjax_attend, Attend,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>());
