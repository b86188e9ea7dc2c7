package infer_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rbtool/rbtool/decode/infer"
	"github.com/rbtool/rbtool/internal/testenv"
)

const corpus = "testdata/corpus"

var update = flag.Bool("update", false, "rewrite testdata/corpus/known.txt with what does not hold")

// TestCorpus loads the programs of testdata/corpus in several ways, runs them and compares their records,
// as inference has them decoded, with the answers beside the programs. What does not hold yet stands in
// known.txt, and only that may fail. What is wrong and called certain always fails.
func TestCorpus(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(corpus, "*.txt"))
	if err != nil {
		t.Fatal(err)
	}
	known, all := readKnown(t), loaders
	if !testing.Short() {
		all = append(all[:len(all):len(all)], owner(t))
	}
	fails := map[string]string{}
	for i, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		if name == "known" {
			continue
		}
		tried := all
		if testenv.InGuest() { // the loaders take turns
			tried = all[i%len(all):][:1]
		}
		t.Run(name, func(t *testing.T) {
			c := readCase(t, name)
			for _, l := range tried {
				if c.expects(l.name) {
					t.Run(l.name, func(t *testing.T) { c.try(t, l, known, fails) })
				}
			}
		})
	}
	if *update && !t.Failed() {
		writeKnown(t, fails)
	}
}

// try checks the records of the case in the forms of its object: as clang wrote it, and stripped.
func (c *corpusCase) try(t *testing.T, l loader, known, fails map[string]string) {
	key := c.name + " " + l.name
	var errs []string
	for _, form := range []string{"stripped", "as written"} {
		if form == "as written" && testing.Short() {
			continue
		}
		for _, err := range c.check(t, l, form == "stripped") {
			errs = append(errs, form+": "+err)
		}
	}
	_, expected := known[key]
	switch {
	case len(errs) > 0:
		fails[key] = errs[0]
		if !expected && !*update {
			t.Errorf("%s", strings.Join(errs, "\n"))
		}
	case expected && !*update:
		t.Errorf("%q of known.txt holds now: go test ./decode/infer -run Corpus -update", key)
	}
}

// check returns what is wrong with the records of the case.
func (c *corpusCase) check(t *testing.T, l loader, strip bool) (errs []string) {
	run := c.load(t, l, strip)
	defer run.close()
	if l.name == "libbpf" && !slices.Contains(c.without, ".BTF") && run.withoutBTF(t) {
		t.Log("not tried: this kernel refuses the BTF of the object, and libbpf loads it without")
		return nil
	}
	found, err := infer.Of(run.ring, infer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	records := c.records(t, run)
	want := c.wanted(l.name)
	if debug := c.only("debug"); l.name == "owner" && !strip && debug != nil {
		want = debug
	}
	if len(records) != len(want) {
		t.Fatalf("%d records, the answer has %d", len(records), len(want))
	}
	for i, record := range records {
		got := answerOf(found, record)
		err := want[i].compare(got)
		if errors.Is(err, errCertain) {
			t.Errorf("record %d: %v", i+1, err)
		}
		if err != nil {
			errs = append(errs, fmt.Sprintf("record %d is %s: %v", i+1, strings.TrimSpace(got.sure+" "+got.typ), err))
			t.Logf("got  %s\nwant %s", got, want[i].answer)
		}
	}
	if len(errs) > 0 {
		t.Log(strings.Join(found.Explain(), "\n"))
	}
	return errs
}

// readKnown returns the cases that known.txt lists, each with its reason.
func readKnown(t *testing.T) map[string]string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(corpus, "known.txt"))
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]string{}
	for line := range strings.Lines(string(b)) {
		if key, why, ok := strings.Cut(strings.TrimSpace(line), ": "); ok && !strings.HasPrefix(line, "#") {
			known[key] = why
		}
	}
	return known
}

func writeKnown(t *testing.T, fails map[string]string) {
	t.Helper()
	lines := []string{"# What does not hold yet: case and loader, then the first difference. Written by -update."}
	for key, why := range fails {
		lines = append(lines, key+": "+why)
	}
	slices.Sort(lines[1:])
	text := strings.Join(lines, "\n") + "\n"
	if err := os.WriteFile(filepath.Join(corpus, "known.txt"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
