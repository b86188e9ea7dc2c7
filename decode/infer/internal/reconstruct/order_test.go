package reconstruct

import (
	"strings"
	"testing"

	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/recordflow"
)

var linesOfNumbers = []struct {
	size int64
	line string // the write is at the first =, or at the first call
	want decode.Meaning
}{
	{2, "e->dport = BPF_CORE_READ(sk, __sk_common.skc_dport);", decode.Port},
	{2, "e->dport = bpf_ntohs(sk->__sk_common.skc_dport);", decode.HostOrder},
	{2, "e->sport = sk->__sk_common.skc_num;", decode.HostOrder},
	{2, "e->sport = bpf_htons(sk->__sk_common.skc_num);", decode.Port},
	{2, ".dport = tcp->dest,", decode.Port},
	{2, "e->port = __builtin_bswap16(th->source);", decode.HostOrder},
	{2, "e->dport = bpf_ntohs(dport);", decode.HostOrder},
	{2, "e->dport = dport;", decode.NoMeaning},
	{2, "e->dport = bpf_htons(dport);", decode.Port},
	{2, "e->dport = bpf_ntohs(bpf_htons(dport));", decode.NoMeaning},
	{2, "e->dport = __builtin_bswap16(dport);", decode.NoMeaning},
	{2, "e->dport = ctx->user_port;", decode.Port},
	{2, "e->dport = bpf_ntohs(ctx->user_port);", decode.HostOrder},
	{4, "e->addr = ctx->user_ip4;", decode.IPv4},
	{2, "e->p = in ? sk->skc_dport : sk->skc_num;", decode.NoMeaning},
	{2, "bpf_probe_read_kernel(&e->dport, sizeof(e->dport), &sk->__sk_common.skc_dport);", decode.Port},
	{2, "BPF_CORE_READ_INTO(&e->dport, sk, __sk_common.skc_dport);", decode.Port},
	{4, "e->lip = sk->__sk_common.skc_rcv_saddr;", decode.IPv4},
	{4, "e->saddr = bpf_ntohl(iph->saddr);", decode.IPv4Host},
	{4, "e->saddr = bpf_ntohl(addr);", decode.HostOrder},
	{4, "e->seq = tcp->seq;", decode.NoMeaning},
	{16, "BPF_CORE_READ_INTO(e->daddr, sk, __sk_common.skc_v6_daddr.in6_u.u6_addr32);", decode.IPv6},
	{8, "e->saddr = iph->saddr;", decode.NoMeaning},
	{2, "", decode.NoMeaning},
	{2, "e->dport |= th->dest;", decode.NoMeaning},
	{2, "e->sport = BPF_CORE_READ(th, source);", decode.Port},
	{2, "e->sport = (__u16)bpf_ntohs(BPF_CORE_READ(th, source));", decode.HostOrder},
	{2, "e->sport = READ_ONCE(th->source);", decode.Port},
	{2, "e->dport = *(__u16 *)&key.dest;", decode.Port},
	{4, "__builtin_memcpy(&e->ip, &ip->daddr, 4);", decode.IPv4},
	// A variable can be called like anything, and what is computed is another number.
	{2, "e->src_kind = source;", decode.NoMeaning},
	{2, "e->kind = BPF_CORE_READ(source, kind);", decode.NoMeaning},
	{2, "e->chan = source + 1;", decode.NoMeaning},
	{2, "e->chan = t->source + 1;", decode.NoMeaning},
	{2, "e->port = bpf_ntohs(t->source + 1);", decode.NoMeaning},
	{2, "e->port = bpf_ntohs(t->source) + 1;", decode.NoMeaning},
	{2, "e->port = bpf_ntohs(a) | bpf_ntohs(b);", decode.NoMeaning},
	{2, "e->port = load_half(skb, offsetof(struct udphdr, dest));", decode.NoMeaning},
	{2, "e->port = bpf_ntohs(swap_again(th->dest));", decode.NoMeaning},
	{2, "bpf_skb_load_bytes(skb, off, &e->source, 2);", decode.NoMeaning},
	{4, "e->is_local = t->saddr == t->daddr;", decode.NoMeaning},
	{4, "e->hash = (t->saddr ^ t->daddr) * 31;", decode.NoMeaning},
	{4, "e->family = t->saddr ? nn : 10;", decode.NoMeaning},
	{4, "e->hash = hash(t->saddr);", decode.NoMeaning},
	{4, "e->set = !t->saddr;", decode.NoMeaning},
	{4, "e->low = -t->saddr;", decode.NoMeaning},
	{4, "e->err = bpf_probe_read_kernel(&ip, 4, &t->saddr);", decode.NoMeaning},
	{4, "e->err = BPF_CORE_READ_INTO(&ip, t, saddr);", decode.NoMeaning},
	{4, "e->part = t->daddr[1];", decode.NoMeaning},
	{4, "e->len = t->saddr.len;", decode.NoMeaning},
}

func TestWhatALineSaysOfANumber(t *testing.T) {
	for _, tt := range linesOfNumbers {
		w := recordflow.Write{Size: tt.size, Line: recordflow.Line{Text: tt.line}}
		if w.Line.Column = strings.IndexAny(tt.line, "=|") + 1; w.Line.Column == 0 {
			w.Line.Column = 1
			w.By = "bpf_probe_read_kernel"
		}
		if got := meaningOf(&w); got != tt.want {
			t.Errorf("%d bytes by %q: %v, want %v", tt.size, tt.line, got, tt.want)
		}
	}
}

func TestHelpersSayWhatTheyWrite(t *testing.T) {
	site := &recordflow.Site{Writes: []recordflow.Write{
		{Off: 0, Size: 8, Constant: true},
		{Off: 0, Size: 8, From: recordflow.Origin{Helper: "bpf_ktime_get_ns", Width: 64}},
		{Off: 8, Size: 16, By: "bpf_get_current_comm"},
		{Off: 24, Size: 4, From: recordflow.Origin{Helper: "bpf_get_current_uid_gid", Width: 32}},
		{Off: 28, Size: 8, From: recordflow.Origin{Helper: "bpf_ktime_get_ns", Width: 64}},
		{Off: 28, Size: 8},
		{Off: -1, Size: 8, From: recordflow.Origin{Helper: "bpf_ktime_get_ns", Width: 64}},
	}}
	got := Meanings(site)
	want := map[int]decode.Meaning{0: decode.Ktime, 8: decode.Chars, 24: decode.UserID}
	for off := range 40 {
		if got[off] != want[off] {
			t.Errorf("at %d: %v, want %v", off, got[off], want[off])
		}
	}
}

func TestWhatLinesSayOfALocalVariable(t *testing.T) {
	for _, tt := range []struct {
		write string
		lines []string
		want  decode.Meaning
	}{
		{"e->dport = dport;", []string{"u16 dport = BPF_CORE_READ(sk, __sk_common.skc_dport);"}, decode.Port},
		{".dport = dport,", []string{"u16 dport = 0;", "BPF_CORE_READ_INTO(&dport, sk, __sk_common.skc_dport);"}, decode.Port},
		{"e->dport = dport;", []string{"dport = bpf_ntohs(sk->__sk_common.skc_dport);"}, decode.HostOrder},
		{"e->dport = bpf_htons(dport);", []string{"dport = bpf_ntohs(sk->__sk_common.skc_dport);"}, decode.Port},
		{"e->dport = bpf_ntohs(dport);", []string{"bpf_probe_read_kernel(&dport, sizeof(dport), &sk->__sk_common.skc_dport);"}, decode.HostOrder},
		{"e->dport = dport;", []string{"dport = sk->__sk_common.skc_dport;", "dport = sk->__sk_common.skc_num;"}, decode.NoMeaning},
		{"e->dport = dport;", []string{"dport = sk->__sk_common.skc_dport;", "dport = other;"}, decode.NoMeaning},
		{"e->dport = dport;", []string{"x.dport = sk->__sk_common.skc_dport;"}, decode.NoMeaning},
		{"e->dport = dport + 1;", []string{"dport = sk->__sk_common.skc_dport;"}, decode.NoMeaning},
		{"e->dport = key.dport;", []string{"dport = sk->__sk_common.skc_dport;"}, decode.NoMeaning},
		{"e->dport = dport;", nil, decode.NoMeaning},
	} {
		w := recordflow.Write{Size: 2, Line: recordflow.Line{Text: tt.write, Column: strings.IndexByte(tt.write, '=') + 1}}
		if got := NewLocals(func(string) []string { return tt.lines }).Meaning(&w); got != tt.want {
			t.Errorf("%s after %q: %v, want %v", tt.write, tt.lines, got, tt.want)
		}
	}
}
