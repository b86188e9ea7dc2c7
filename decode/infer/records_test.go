package infer_test

import (
	"regexp"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/decode/infer"
)

// decoded runs a pinned program and returns its records as JSON, "" for a record without a
// type. Values that depend on the process are replaced by *.
func decoded(t *testing.T, ring *ebpf.Map, program string, found *infer.Result) (records []string) {
	t.Helper()
	prog, err := ebpf.LoadPinnedProgram(program, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer prog.Close()
	if _, err := prog.Run(&ebpf.RunOptions{}); err != nil {
		t.Fatal(err)
	}
	r, err := consumer.NewReader(ring, consumer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for rec := range r.Pass(0) {
		dec, err := found.Set.Codec(rec.Data)
		if err != nil {
			records = append(records, "")
			continue
		}
		json, err := dec.AppendJSON(nil, rec.Data)
		if err != nil {
			t.Error(err)
		}
		records = append(records, varies.ReplaceAllString(string(json), "$1*"))
	}
	return records
}

// varies matches the JSON of values that depend on the process that runs a program.
var varies = regexp.MustCompile(`("comm":"|"pid":)(?:[^",]{2,})`)
