// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The shim: what Rust cannot say to the BPF backend. Rust calls these functions with addresses as
 * numbers; a pointer into address space 1 makes the backend put a cast before each access. They are
 * inlined into the algorithms, and then disappear.
 *
 * What an acquire load and a release store become is chosen by a macro, for kernels before 6.15 have
 * neither load_acquire nor store_release:
 *
 *	(none)			load_acquire, store_release
 *	ARENAQ_TSO		an ordinary load, an ordinary store: right where the hardware keeps total
 *				store order
 *	ARENAQ_FULL_BARRIER	an addition of zero, an exchange: right everywhere
 */
#include "kernel.h"
#define ARENAQ_NO_ALLOC
#include "arenaq.h"

#define WORD(address) ((volatile __u64 __arena *)(address))
#define compiler_barrier() asm volatile("" ::: "memory")

/* Plain accesses: to memory that one side owns. */

__u64 arenaq_read(__u64 address)
{
	return *(__u64 __arena *)address;
}

void arenaq_write(__u64 address, __u64 value)
{
	*(__u64 __arena *)address = value;
}

/* Atomic accesses: an aligned 8-byte access is one instruction, and volatile keeps it one. */

__u64 arenaq_load_relaxed(__u64 address)
{
	return *WORD(address);
}

void arenaq_store_relaxed(__u64 address, __u64 value)
{
	*WORD(address) = value;
}

#if defined(ARENAQ_TSO)

/*
 * The hardware orders loads with loads and stores with stores, and a load with a later store; the
 * barriers keep the compiler from undoing that.
 */

__u64 arenaq_load_acquire(__u64 address)
{
	__u64 value = *WORD(address);

	compiler_barrier();
	return value;
}

void arenaq_store_release(__u64 address, __u64 value)
{
	compiler_barrier();
	*WORD(address) = value;
}

#elif defined(ARENAQ_FULL_BARRIER)

/*
 * BPF has no fence, but a read-modify-write with BPF_FETCH is fully ordered. The zero is hidden from
 * LLVM, as in `arenaq_fetch_add`.
 */
__u64 arenaq_load_acquire(__u64 address)
{
	__u64 zero = 0;

	asm volatile("" : "+r"(zero));
	return __sync_fetch_and_add((__u64 __arena *)address, zero);
}

/* What was there is of no interest; that somebody wants it keeps the exchange an exchange. */
void arenaq_store_release(__u64 address, __u64 value)
{
	__u64 old = __sync_lock_test_and_set((__u64 __arena *)address, value);

	asm volatile("" ::"r"(old));
}

#else

__u64 arenaq_load_acquire(__u64 address)
{
	return __atomic_load_n((__u64 __arena *)address, __ATOMIC_ACQUIRE);
}

void arenaq_store_release(__u64 address, __u64 value)
{
	__atomic_store_n((__u64 __arena *)address, value, __ATOMIC_RELEASE);
}

#endif

/* Read-modify-writes that return something are fully ordered in BPF. */

__u64 arenaq_swap(__u64 address, __u64 value)
{
	return __sync_lock_test_and_set((__u64 __arena *)address, value);
}

/*
 * What was found is hidden from LLVM, which would make a number of whether it is what was expected, and compare that once more.
 */
__u64 arenaq_compare_exchange(__u64 address, __u64 current, __u64 new)
{
	__u64 found = __sync_val_compare_and_swap((__u64 __arena *)address, current, new);

	asm volatile("" : "+r"(found));
	return found;
}

/*
 * Relaxed, and the result is not used, so this becomes BPF_ADD without BPF_FETCH, which orders
 * nothing.
 */
void arenaq_add(__u64 address, __u64 value)
{
	__atomic_fetch_add((__u64 __arena *)address, value, __ATOMIC_RELAXED);
}

/*
 * What is added is hidden from LLVM: of an addition of a zero that it knows, which reads the newest value, it would make
 * an `or`, and x86 has no fetching `or` for arenas.
 */
__u64 arenaq_fetch_add(__u64 address, __u64 value)
{
	asm volatile("" : "+r"(value));
	return __sync_fetch_and_add((__u64 __arena *)address, value);
}

/*
 * Elements of any type. Size and alignment are constants where this is inlined, so the loops have constant
 * bounds, and the small ones are unrolled. Volatile, or LLVM would make a call of memcpy of a loop, which BPF does not
 * have.
 */

#define COPY(type, to, from, done, size)                                                   \
	for (; done + sizeof(type) <= size; done += sizeof(type))                          \
		*(volatile type TO *)(to + done) = *(const volatile type FROM *)(from + done)

/* So many words from one pointer on, which is made once. */
#define COPY_WORDS(words, to, from, done, size)                                            \
	for (; done + 8 * (words) <= size; done += 8 * (words)) {                          \
		volatile __u64 TO *target = (volatile __u64 TO *)(to + done);              \
		const volatile __u64 FROM *source = (const volatile __u64 FROM *)(from + done); \
                                                                                           \
		_Pragma("unroll") for (int i = 0; i < (words); i++) target[i] = source[i]; \
	}

#define COPY_ALL(to, from, size, align)                     \
	do {                                                \
		__u64 done = 0;                             \
							    \
		if (align >= 8) {                           \
			COPY_WORDS(8, to, from, done, size); \
			COPY_WORDS(1, to, from, done, size); \
		}                                           \
		if (align >= 4)                             \
			COPY(__u32, to, from, done, size);  \
		if (align >= 2)                             \
			COPY(__u16, to, from, done, size);  \
		COPY(__u8, to, from, done, size);           \
	} while (0)

#define TO __arena
#define FROM
__attribute__((always_inline)) void arenaq_copy_in(__u64 to, const void *from, __u64 size, __u64 align)
{
	COPY_ALL(to, from, size, align);
}
#undef TO
#undef FROM

#define TO
#define FROM __arena
__attribute__((always_inline)) void arenaq_copy_out(void *to, __u64 from, __u64 size, __u64 align)
{
	COPY_ALL(to, from, size, align);
}
#undef TO
#undef FROM

/*
 * A record, whose size is known only at run time: in blocks of 64 bytes, and what is left in halves of that, for a word at a time
 * takes several times as long.
 *
 * The place in the record is hidden from LLVM before it is compared, so that the comparison is of the register that is added to
 * the pointer: that is how the verifier knows that the access is within the value. To all that is compared a zero is added that
 * the verifier cannot see: so it learns by no comparison anything of the size, which is the same to it behind each block, with the
 * block and without it, and what is behind is walked once.
 */
#define COPY_BLOCK(place, words)                                                             \
	do {                                                                                 \
		__u64 at = (place) + zero;                                                   \
		const __u64 *source;                                                         \
		__u64 __arena *target;                                                       \
                                                                                             \
		asm volatile("" : "+r"(at));                                                 \
		if (at > most - 8 * (words))                                                 \
			return 0;                                                            \
		source = from + at;                                                          \
		target = (__u64 __arena *)(to + at);                                         \
		_Pragma("unroll") for (int i = 0; i < (words); i++) target[i] = source[i];   \
	} while (0)

#define COPY_HALF(words)                                                  \
	do {                                                              \
		__u64 bits = whole + zero;                                \
                                                                          \
		asm volatile("" : "+r"(bits));                            \
		if (most >= 8 * (words) && bits & 8 * (words))            \
			COPY_BLOCK(whole & ~(16ULL * (words) - 1), words); \
	} while (0)

__attribute__((always_inline)) _Bool arenaq_copy_record(__u64 to, const void *from, __u64 size, __u64 most)
{
	__u64 zero = arenaq_zero(), whole = (size + zero + 7) & ~7ULL, end = whole + zero;

	asm volatile("" : "+r"(end));
	most = (most + 7) & ~7ULL;
	if (most >= 64) {
		for (__u64 done = zero; done + 64 <= end; done += 64) {
			if (!arenaq_can_loop())
				return 0;
			COPY_BLOCK(done, 8);
		}
	}
	COPY_HALF(4);
	COPY_HALF(2);
	COPY_HALF(1);
	return 1;
}

/*
 * The helper by its number, which is kernel ABI: the header that names it comes with libbpf. A kernel
 * for x86-64 inlines it.
 */
static __u32 (*const get_smp_processor_id)(void) = (void *)8;

__u64 arenaq_processor(void)
{
	return get_smp_processor_id();
}

/*
 * Memory. The kernel's function is declared here and not in the header: a vmlinux.h may declare it too,
 * with other types, and C allows that in another file only.
 */
void __arena *bpf_arena_alloc_pages(void *map, void __arena *addr, __u32 page_cnt, int node_id, __u64 flags)
	__attribute__((section(".ksyms"))) __attribute__((weak));

__u64 arenaq_alloc_pages(void *map, __u64 address, __u32 count)
{
	return (__u64)bpf_arena_alloc_pages(map, (void __arena *)address, count, -1 /* any NUMA node */, 0);
}

/* Loops. */

_Bool arenaq_can_loop(void)
{
	asm volatile goto("may_goto %l[out]" :::: out);
	return 1;
out:
	return 0;
}

/*
 * The seeds' DS_VYUKHOV_MAX_RETRIES. Not const, so that the verifier must take it for any number.
 */
volatile __u64 arenaq_retry_limit = 100;

__u64 arenaq_retry_budget(void)
{
	return arenaq_retry_limit;
}

/*
 * Zero, from where the verifier cannot see it. A counter that starts from a number that it knows
 * has another value in each pass, and so the verifier walks every pass of a loop.
 */
volatile __u64 arenaq_zero_word = 0;

__u64 arenaq_zero(void)
{
	return arenaq_zero_word;
}

/* The pool from which ds_mpsc_insert takes its nodes: one for all MPSC queues of an object. */
struct ds_pool __arena ds_pool;
