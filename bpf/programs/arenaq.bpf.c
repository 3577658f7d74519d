// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The programs of the harness: hooks that push (task, time) into a queue, or a record for each event,
 * and programs that userspace runs directly.
 *
 * Userspace makes the queues before it attaches anything. What a program allocates are pages for
 * more nodes, if it is told to (`settings.grow`).
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include "programs.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARENA);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1024); /* pages; userspace sets it before the load */
} arena SEC(".maps");

#include "arenaq.h"

struct arenaq_header __arena arenaq_header;
struct ds_vyukhov_head __arena ds_vyukhov;
struct ds_mpsc_head __arena ds_mpsc;
struct arenaq_event_count __arena arenaq_events;

ARENAQ_RECORDS(records, 1 << 18, sizeof(struct arenaq_event) + ARENAQ_EVENT_REST, struct arenaq_event);

/*
 * Of a structure that is only pointed to, BTF has the name and nothing else; of a variable's,
 * everything.
 */
struct {
	struct ds_vyukhov_cell cell;
	struct ds_mpsc_node node;
	struct arenaq_entry entry;
	struct arenaq_slots slots;
	struct arenaq_mpmc mpmc;
	struct arenaq_mpsc mpsc;
	struct arenaq_lane lane;
	struct arenaq_records records;
} arenaq_types;

/*
 * Set before the load; the verifier drops the code of the other queues, and that which allocates
 * where nothing is allocated: before Linux 7.0 it refuses it in programs that cannot sleep.
 */
const volatile struct arenaq_settings settings SEC(".rodata.settings") = {};

/* Likewise. Nobody writes it later, but the kernel makes a dynptr only to what can be written. */
struct arenaq_pattern pattern SEC(".data.pattern") = {};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct arenaq_counters);
} counters SEC(".maps");

/*
 * The tasks that are traced: those that userspace has marked, and what they have forked since. A
 * thread without a mark is traced if its process's leader is; see is_traced().
 */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u32);
} traced SEC(".maps");

/* The one field that is looked at. Its offset is that of the kernel which runs the program. */
struct task_struct {
	struct task_struct *group_leader;
} __attribute__((preserve_access_index));

void bpf_rcu_read_lock(void) __ksym;
void bpf_rcu_read_unlock(void) __ksym;

/*
 * A process is traced with all its threads. Some come without a fork that follow_fork() sees: the
 * kernel starts io_uring's workers on its own. They have the leader of the process that they work for.
 * Other threads have a mark of their own as well, for each of them may become the leader: by exec.
 */
static __always_inline int is_traced(struct task_struct *task)
{
	struct task_struct *leader;
	int traced_leader = 0;

	if (bpf_task_storage_get(&traced, task, 0, 0))
		return 1;
	bpf_rcu_read_lock();
	leader = task->group_leader;
	if (leader && leader != task)
		traced_leader = bpf_task_storage_get(&traced, leader, 0, 0) != 0;
	bpf_rcu_read_unlock();
	return traced_leader;
}

/*
 * The counters are per CPU, and still added to atomically: a program that sleeps, or is interrupted
 * by another, leaves its CPU to a second one in the middle of an addition.
 */
#define COUNT(field, by) __atomic_fetch_add(&counters->field, (by), __ATOMIC_RELAXED)

static __always_inline struct arenaq_counters *this_cpu(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&counters, &zero);
}

/* For tests: who is in the middle of a push on this CPU. Not used unless `settings.nest` is set. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct arenaq_nesting);
} nesting SEC(".maps");

static __always_inline struct arenaq_nesting *nesting_here(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&nesting, &zero);
}

/*
 * Says that the current task is, or is no longer, between the first and the last access of a push.
 * If a program of another task takes the place in between, on_clock misses a push, and no more: the
 * name of a task is there only while that task is inside.
 */
static __always_inline void mark(__u64 task)
{
	struct arenaq_nesting *here = settings.nest ? nesting_here() : 0;

	if (!here)
		return;
	barrier();
	*(volatile __u64 *)&here->pushing = task;
	barrier();
}

/*
 * What consumers block on. What is in a record does not matter. If the ring is full its reader has
 * not come yet, and will not block.
 */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} doorbell SEC(".maps");

/* Wakes the consumers if they sleep. */
static __always_inline void notify(void)
{
	__u64 record = 0;

	if (settings.queue == ARENAQ_QUEUE_RECORDS)
		arenaq_notify(&records);
	else if (arenaq_must_notify(&arenaq_events))
		bpf_ringbuf_output(&doorbell, &record, sizeof(record), BPF_RB_FORCE_WAKEUP);
}

/* The insert of the queue that was chosen. */
static __always_inline int insert(__u64 key, __u64 value, __u64 step)
{
	if (settings.queue == ARENAQ_QUEUE_MPMC)
		return ds_vyukhov_insert(&ds_vyukhov, key, value);
	if (step)
		return arenaq_insert_growing(&arena, &ds_mpsc, key, value, step);
	return ds_mpsc_insert(&ds_mpsc, key, value);
}

/*
 * The record of one event. The time is that at which its lane was taken, and not an earlier one: then a lane's times rise, whoever
 * is interrupted. A copy of a size that is not constant needs a helper, and that of dynptrs is there under lockdown too, where
 * bpf_probe_read_kernel() is not.
 */
static __always_inline int submit(__u64 task, __u64 number, __u64 *lane, __u64 *time)
{
	__u64 rest = ARENAQ_EVENT_SIZE(number);
	struct arenaq_event *event = arenaq_begin(&records);
	struct bpf_dynptr source;

	if (!event)
		return DS_ERROR_BUSY;
	*lane = event->lane = arenaq_records_lane(((struct arenaq_scratch *)event - 1)->lane);
	*time = event->time = bpf_ktime_get_ns();
	event->task = task;
	event->number = number;
	bpf_dynptr_from_mem(&pattern, sizeof(pattern), 0, &source);
	bpf_dynptr_read(event->rest, rest, &source, ARENAQ_EVENT_FROM(task, number), 0);
	return arenaq_submit_at(&records, event, sizeof(*event) + rest, *time);
}

/* One event: pushed, or counted as dropped for the reason why not. */
static __always_inline int deliver(struct arenaq_counters *counters, __u64 key, __u64 step)
{
	__u64 number = COUNT(produced, 1);
	__u64 value;
	int status;

	if (settings.queue == ARENAQ_QUEUE_RECORDS) {
		status = submit(key, number, &key, &value);
	} else {
		value = bpf_ktime_get_ns();
		status = insert(key, value, step);
	}

	switch (status) {
	case DS_SUCCESS:
		notify();
		COUNT(checksum, ARENAQ_CHECKSUM(key, value));
		COUNT(pushed, 1);
		break;
	case DS_ERROR_NOMEM:
		COUNT(nomem, 1);
		break;
	case DS_ERROR_BUSY:
		COUNT(busy, 1);
		break;
	default:
		COUNT(invalid, 1);
	}
	return status;
}

static __always_inline int push(__u64 key)
{
	struct arenaq_counters *counters = this_cpu();
	int status;

	if (!counters)
		return DS_ERROR_INVALID;
	mark(bpf_get_current_pid_tgid());
	status = deliver(counters, key, settings.grow);
	mark(0);
	return status;
}

/* The event of a hook, if the current task is traced. */
static __always_inline int event(void)
{
	if (is_traced(bpf_get_current_task_btf()))
		push(bpf_get_current_pid_tgid());
	return 0;
}

/* ---- Hooks ---- */

SEC("lsm.s/inode_create")
int on_inode_create(void *ctx)
{
	return event();
}

SEC("tp_btf/ext4_allocate_inode")
int on_ext4_create(void *ctx)
{
	return event();
}

SEC("raw_tp/sys_enter")
int on_sys_enter(struct bpf_raw_tracepoint_args *ctx)
{
	return ctx->args[1] == settings.syscall ? event() : 0;
}

SEC("raw_tp/sched_process_exec")
int on_exec(void *ctx)
{
	return event();
}

/*
 * From 6.13 on Linux gives a uprobe's program, if it needs 64 bytes of stack or more, a stack for each
 * CPU. Two tasks share it if the first one sleeps, or is preempted, in the middle of the program; then
 * what it has kept there is gone. A program with a tail call keeps an ordinary stack. This call is
 * never reached, and the verifier drops it.
 */
static __always_inline void ordinary_stack(void *ctx)
{
	if (settings.never)
		bpf_tail_call(ctx, 0, 0);
}

SEC("uprobe")
int on_uprobe(void *ctx)
{
	ordinary_stack(ctx);
	return event();
}

/* In a program that can sleep, so that it may allocate on every kernel. */
SEC("uprobe.s")
int on_uprobe_sleepable(void *ctx)
{
	ordinary_stack(ctx);
	return event();
}

/*
 * A clock's interrupt, in the middle of whatever the CPU does. It pushes if that is a push of the
 * interrupted task, so nothing else on the machine leaves a trace. It never allocates.
 */
SEC("perf_event")
int on_clock(void *ctx)
{
	struct arenaq_counters *counters = this_cpu();
	struct arenaq_nesting *here = nesting_here();
	__u64 task = bpf_get_current_pid_tgid();

	if (!counters || !here || !task || *(volatile __u64 *)&here->pushing != task)
		return 0;
	__atomic_fetch_add(&here->nested, 1, __ATOMIC_RELAXED);
	deliver(counters, ARENAQ_CLOCK_KEY | bpf_get_smp_processor_id(), 0);
	return 0;
}

/* A process or thread that a traced task starts is traced, before it runs for the first time. */
SEC("tp_btf/sched_process_fork")
int follow_fork(__u64 *ctx)
{
	struct task_struct *parent = (struct task_struct *)ctx[0];
	struct task_struct *child = (struct task_struct *)ctx[1];

	if (!is_traced(parent))
		return 0;
	if (!bpf_task_storage_get(&traced, child, 0, BPF_LOCAL_STORAGE_GET_F_CREATE)) {
		struct arenaq_counters *counters = this_cpu();

		if (counters)
			COUNT(untraced, 1);
	}
	return 0;
}

/* ---- Run by userspace ---- */

/* A global function, which the verifier follows once, and not for each way through each pass of a loop. */
__noinline int push_one(__u64 key)
{
	return push(key);
}

/*
 * Pushes `count` events of one key, as fast as it can. The kernel may end the loop early: `done`
 * says how far it came.
 */
SEC("syscall")
int drive(struct arenaq_drive *args)
{
	__u64 count = args->count;
	__u64 key = args->key;
	__u64 i;

	for (i = 0; i < count && arenaq_can_loop(); i++)
		push_one(key);
	args->done = i;
	return 0;
}

/* Takes one element off the MPMC queue: the way back, from userspace to the kernel. */
SEC("syscall")
int pop(struct arenaq_pop *args)
{
	struct ds_kv element = {};

	args->status = ds_vyukhov_pop(&ds_vyukhov, &element);
	args->key = element.key;
	args->value = element.value;
	return 0;
}

/* What the kernel's verification says of the queues. */
SEC("syscall")
int verify(struct arenaq_verify *args)
{
	args->mpmc = ds_vyukhov_verify(&ds_vyukhov);
	args->mpsc = ds_mpsc_verify(&ds_mpsc);
	return 0;
}

/* Where the control blocks are: on which end of the arena is up to libbpf and the kernel. */
SEC("syscall")
int locate(struct arenaq_places *args)
{
	args->header = (__u64)&arenaq_header;
	args->mpmc = (__u64)&ds_vyukhov;
	args->mpsc = (__u64)&ds_mpsc;
	args->pool = (__u64)&ds_pool;
	args->events = (__u64)&arenaq_events;
	return 0;
}
