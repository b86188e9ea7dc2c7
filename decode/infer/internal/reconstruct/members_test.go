package reconstruct

import "github.com/rbtool/rbtool/internal/recordflow"

// memberCases are the rules by which writes become members.
var memberCases = []struct {
	rule   string
	size   int64
	writes []recordflow.Write
	want   string
}{
	{
		"a store has the size of its member", 16,
		[]recordflow.Write{store(0, 4, "e->pid = pid;"), store(4, 2, "e->port = x;"), store(6, 1, "e->kind = x;"), store(8, 8, "e->ns = x;")},
		"pid u32@0, port u16@4, kind u8@6, ns u64@8",
	},
	{
		"padding is left out, other bytes are shown", 32,
		[]recordflow.Write{store(0, 4, "e->pid = pid;"), store(8, 8, "e->ns = x;"), store(24, 1, "e->kind = x;")},
		"pid u32@0, ns u64@8, at_16 u8[8]@16, kind u8@24",
	},
	{
		"helpers write strings", 32,
		[]recordflow.Write{call(0, 16, "bpf_get_current_comm(&e->comm, sizeof(e->comm));"), call(16, 16, "bpf_probe_read_kernel_str(e->name, 16, p);")},
		"comm char[16]@0, name char[16]@16",
	},
	{
		"macros and copies name what they write", 32,
		[]recordflow.Write{
			call(0, 4, "BPF_CORE_READ_INTO(&e->ppid, task, real_parent, tgid);"),
			store(4, 4, "SET(&e->mode, x);"),
			store(8, 8, "__builtin_memcpy(&e->ip, p, 16);"), store(16, 8, "__builtin_memcpy(&e->ip, p, 16);"),
			call(24, 6, "bpf_probe_read_kernel(e->mac, 6, p);"),
		},
		"ppid u32@0, mode u32@4, ip u8[16]@8, mac u8[6]@24",
	},
	{
		"paths lead into structs", 16,
		[]recordflow.Write{store(0, 4, "e->kind = k;"), store(4, 4, "e->src.addr = x;"), store(8, 2, "e->src.port = y;"), store(10, 2, "e->dport = z;"), store(12, 4, "e->x = z;")},
		"kind u32@0, src {addr u32@0, port u16@4}@4, dport u16@10, x u32@12",
	},
	{
		"elements of arrays", 40,
		[]recordflow.Write{store(0, 8, "e->args[i] = x;"), store(8, 8, "e->args[i] = x;"), store(24, 4, "e->ep[1].port = x;"), store(16, 4, "e->ep[0].port = x;"), store(20, 2, "e->ep[0].id = x;"), store(36, 4, "e->v[1] = x;")},
		"args u64[2]@0, ep {port u32@0, id u16@4}[2]@16, v u32[2]@32",
	},
	{
		"members of a union lie at one place", 16,
		[]recordflow.Write{store(0, 4, "e->a.v4 = x;"), call(0, 16, "bpf_probe_read_kernel(&e->a.v6, 16, p);")},
		"a {union{v6 u8[16]@0, v4 u32@0}@0}@0",
	},
	{
		"a helper tells the size of a string whose first byte is set", 24,
		[]recordflow.Write{
			store(0, 1, "e->name[0] = x;"), {Off: 0, Size: 16, By: "bpf_probe_read_kernel_str"}, store(16, 1, "e->s[0] = x;"),
			call(16, 8, "bpf_probe_read_kernel_str(e->s, 8, p);"), {Off: 16, Size: 8, By: "bpf_probe_read_kernel_str"},
		},
		"name char[16]@0, s char[8]@16",
	},
	{
		"a string that is only ended has an unknown length", 20,
		[]recordflow.Write{constantStore(0, 1, 0, `e->name[0] = '\0';`), store(16, 4, "e->pid = x;")},
		"name char[16]@0, pid u32@16",
	},
	{
		"a longer store is that of several members", 8,
		[]recordflow.Write{store(0, 2, "e->sport = x;"), store(0, 4, "e->sport = y;"), store(2, 2, "e->dport = x;"), store(4, 4, "bpf_memcpy(&e->ip, p, 4);")},
		"sport u16@0, dport u16@2, ip u32@4",
	},
	{
		"an array that a loop writes begins where the members before it end", 24,
		[]recordflow.Write{store(0, 4, "e->len = x;"), {Off: -1, Least: 4, Size: 1, Line: store(0, 1, "e->data[i] = b;").Line}, store(20, 4, "e->crc = x;")},
		"len u32@0, data u8[16]@4, crc u32@20",
	},
	{
		"an array that can begin elsewhere has no place", 24,
		[]recordflow.Write{store(0, 4, "e->len = x;"), {Off: -1, Least: 8, Size: 1, Line: store(0, 1, "e->data[i] = b;").Line}},
		"len u32@0, at_4 u8[20]@4",
	},
	{
		"an array that a loop fills lies where there is room", 40,
		[]recordflow.Write{store(0, 4, "e->len = x;"), {Off: -1, Size: 8, Line: store(0, 8, "e->args[i] = b;").Line}, store(32, 8, "e->ns = x;")},
		"len u32@0, args u64[3]@8, ns u64@32",
	},
	{
		"a string that is ended has the size that a helper tells", 32,
		[]recordflow.Write{
			store(0, 4, "e->len = x;"), {Off: 4, Max: 15, By: "bpf_probe_read_user", Line: store(0, 0, "bpf_probe_read_user(e->name, n, p);").Line},
			constantStore(4, 1, 0, "e->name[0] = '\\0';"),
		},
		"len u32@0, name char[16]@4, at_20 u8[12]@20",
	},
	{
		"a string without a name", 32,
		[]recordflow.Write{store(0, 4, "e->ret = x;"), {Off: 8, Size: 15, By: "bpf_snprintf"}},
		"ret s32@0, at_4 u8[4]@4, at_8 char[16]@8, at_24 u8[8]@24",
	},
	{
		"a string that another write overlaps", 32,
		[]recordflow.Write{store(0, 4, "e->ret = x;"), {Off: 8, Size: 16, By: "bpf_snprintf"}, {Off: 16, Size: 4}},
		"ret s32@0, at_4 u8[28]@4",
	},
	{
		"there is room in two places", 40,
		[]recordflow.Write{store(0, 4, "e->len = x;"), {Off: -1, Size: 2, Line: store(0, 2, "e->args[i] = b;").Line}, store(16, 8, "e->ns = x;")},
		"len u32@0, at_4 u8[12]@4, ns u64@16, at_24 u8[16]@24",
	},
	{
		"another member lies in the only room", 16,
		[]recordflow.Write{store(0, 4, "e->len = x;"), {Off: -1, Size: 1, Line: store(0, 1, "e->data[i] = b;").Line}, {Off: 8, Size: 4}},
		"len u32@0, at_4 u8[12]@4",
	},
	{
		"the line does not name the record", 16,
		[]recordflow.Write{store(0, 4, "e->len = x;"), {Off: -1, Size: 1, Line: store(0, 1, "p->data[i] = b;").Line}},
		"len u32@0, at_4 u8[12]@4",
	},
	{
		"a struct and an array of a union", 24,
		[]recordflow.Write{
			call(0, 16, "bpf_probe_read_kernel_str(e->cmd, 16, p);"), call(0, 8, "bpf_probe_read_kernel_str(e->op.path, 8, p);"),
			store(8, 4, "e->op.fd = x;"), store(16, 8, "e->ns = x;"),
		},
		"union{cmd char[16]@0, op {path char[8]@0, fd s32@8}@0}@0, ns u64@16",
	},
	{
		"members that contradict each other are left out", 16,
		[]recordflow.Write{store(0, 8, "e->a = x;"), store(4, 8, "e->b = x;"), store(12, 4, "e->c = x;")},
		"at_0 u8[12]@0, c u32@12",
	},
	{
		"only true and false make a bool", 2,
		[]recordflow.Write{constantStore(0, 1, 1, "e->ok = true;"), constantStore(1, 1, 1, "e->n = 1;")},
		"ok bool@0, n u8@1",
	},
	{
		"a number that is set to a negative constant is signed", 8,
		[]recordflow.Write{constantStore(0, 4, 0xffffffff, "e->fd = -1;"), store(4, 4, "e->n = x - 1;")},
		"fd s32@0, n u32@4",
	},
	{
		"a packed number is stored in bytes", 5,
		[]recordflow.Write{store(0, 1, "e->k = k;"), store(1, 1, "e->pid = p;"), store(2, 1, "e->pid = p;"), store(3, 1, "e->pid = p;"), store(4, 1, "e->pid = p;")},
		"k u8@0, pid u32@1",
	},
	{
		"merged constants have the line of the first", 32,
		[]recordflow.Write{
			constantStore(0, 8, 0x300000001, "e->a = 1;"), constantStore(8, 8, 0x2_0003_0004, "e->b = 4;"),
			constantStore(16, 8, 0x2_00000007, "e->c = SEVEN;"), constantStore(24, 8, 1, "e->d = 1;"),
		},
		"a u32@0, at_4 u8[4]@4, b u16@8, at_10 u8[6]@10, c u32@16, at_20 u8[4]@20, d u64@24",
	},
	{
		"constants that can be of any member name none", 40,
		[]recordflow.Write{
			constantStore(0, 8, 0, "e->a = 0;"), constantStore(8, 8, 1<<64-1, "e->b = -1;"),
			constantStore(16, 8, 0x30201, "e->c = 5;"), constantStore(24, 8, 0x2_00000301, "e->d = D;"), store(32, 8, "e->e = x;"),
		},
		"at_0 u8[32]@0, e u64@32",
	},
	{
		"a copied literal is a string", 8,
		[]recordflow.Write{constantStore(0, 4, 1, `__builtin_memcpy(e->s, "abcdefg", 8);`), constantStore(4, 4, 1, `__builtin_memcpy(e->s, "abcdefg", 8);`)},
		"s char[8]@0",
	},
	{
		"another store tells where the first of merged members ends", 8,
		[]recordflow.Write{constantStore(0, 8, 0x300000001, "e->kind = 1;"), store(4, 4, "e->len = 2;")},
		"kind u32@0, len u32@4",
	},
	{
		"names of constants leave room for a second one", 16,
		[]recordflow.Write{constantStore(0, 4, 0x200003, "e->type = KIND;"), constantStore(4, 4, 0x7f000001, "e->addr = LOCAL;"), constantStore(8, 8, 0x10003, "e->v = V;")},
		"type u16@0, at_2 u8[6]@2, v u16@8, at_10 u8[6]@10",
	},
	{
		"a port is no two members of a byte", 8,
		[]recordflow.Write{constantStore(0, 2, 0x1f90, "e->dport = dport;"), constantStore(2, 2, 0x1f90, "e->kind = kind;"), store(4, 4, "e->x = x;")},
		"dport u16@0, at_2 u8[2]@2, x u32@4",
	},
	{
		"a merged store does not hide a member that another store tells", 8,
		[]recordflow.Write{constantStore(0, 2, 0x100, "e->way = way;"), store(0, 1, "e->way = x;"), store(1, 1, "e->ok = x;"), store(4, 4, "e->x = x;")},
		"way u8@0, ok u8@1, x u32@4",
	},
	{
		"a return value can be negative", 16,
		[]recordflow.Write{store(0, 4, "e->ret = x;"), store(4, 4, "e->from_dfd = x;"), store(8, 8, "e->retries = x;")},
		"ret s32@0, from_dfd s32@4, retries u64@8",
	},
	{
		"the name of a task is text, also where it is copied", 32,
		[]recordflow.Write{call(0, 16, "bpf_probe_read_kernel(&e->pcomm, 16, p);"), call(16, 16, "bpf_probe_read_kernel(&e->mac, 16, p);")},
		"pcomm char[16]@0, mac u8[16]@16",
	},
	{
		"elements that are stored in bytes", 16,
		[]recordflow.Write{
			store(7, 1, "e->args[1] = x;"), store(6, 1, "e->args[1] = x;"), store(5, 1, "e->args[1] = x;"), store(4, 1, "e->args[1] = x;"),
			store(0, 1, "e->args[0] = y;"), store(2, 1, "e->args[0] = y;"), store(1, 1, "e->args[0] = y;"), store(3, 1, "e->args[0] = y;"),
			store(8, 8, "e->z = x;"),
		},
		"args u32[2]@0, z u64@8",
	},
	{
		"a store of another line that inherits the line is not named", 16,
		[]recordflow.Write{store(0, 4, "e->a = x;"), store(4, 4, "e->a = x;"), store(8, 8, "e->b = x;")},
		"a u32@0, at_4 u8[4]@4, b u64@8",
	},
	{
		"a struct is copied in parts, with the column of the value", 24,
		[]recordflow.Write{copyOf(0, 8, "e->a = x;"), copyOf(12, 2, "e->a = x;"), copyOf(16, 8, "e->b = x;")},
		"a u8[14]@0, at_14 u8[10]@14",
	},
	{
		"a variable that points into a known struct names its members", 24,
		[]recordflow.Write{
			store(0, 4, "e->src.a = x;"), store(16, 4, "e->src.c = x;"), store(8, 4, "p->b = x;"), store(20, 4, "p->d = x;"),
		},
		"src {a u32@0, at_4 u8[4]@4, b u32@8, at_12 u8[4]@12, c u32@16, d u32@20}@0",
	},
	{
		"a variable whose members enclose those of a struct points to the struct", 32,
		[]recordflow.Write{
			store(0, 4, "e->c.ts = x;"), store(12, 4, "e->c.task.pid = x;"), store(24, 4, "e->c.id = x;"), store(28, 4, "e->z = x;"),
			store(8, 4, "t->ppid = x;"), store(16, 4, "t->uid = x;"),
		},
		"c {ts u32@0, at_4 u8[4]@4, task {ppid u32@0, pid u32@4, uid u32@8}@8, at_20 u8[4]@20, id u32@24}@0, z u32@28",
	},
	{
		"lines of another variable name what does not contradict", 12,
		[]recordflow.Write{store(0, 4, "e->a = x;"), store(4, 4, "p->a = x;"), store(8, 4, "p->b = x;")},
		"a u32@0, at_4 u8[4]@4, b u32@8",
	},
}
