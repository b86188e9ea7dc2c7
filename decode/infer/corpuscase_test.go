package infer_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rbtool/rbtool/decode/infer"
)

// corpusCase is a program of the corpus with its right answer, from NAME.txt. That file begins with text and
// continues with one directive a line:
//
//	run PROGRAM...                 run these, in this order; the default is p
//	with OBJECT                    load another object that uses the same ring
//	needs FEATURE                  what the kernel must have
//	feed HEX                       a sample of a user ring
//	without SECTION...             load the object without these sections
//	LOADERS SURE TYPE JSON         the next record
//
// LOADERS are names of loaders separated by commas, or all. The loader owner, whose objects can say more than the
// kernel, needs lines of its own only where a type must have a certain certainty. SURE is certain, likely, known (either
// of them), reconstructed, named (any of them), hex, which has no type, or any: of these all but wrong and
// certain. A TYPE of * is any. $pid and $comm in the JSON are those of the process that runs the programs.
type corpusCase struct {
	name     string
	programs []string
	with     string
	needs    string
	feed     [][]byte
	without  []string
	answers  []wanted
}

// wanted is the answer for a record.
type wanted struct {
	loaders []string
	answer
}

// answer says how a record is shown.
type answer struct {
	sure string
	typ  string
	json string
}

func (a answer) String() string { return strings.TrimSpace(a.sure + " " + a.typ + " " + a.json) }

func readCase(t testing.TB, name string) *corpusCase {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(corpus, name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	c := &corpusCase{name: name, programs: []string{"p"}}
	_, directives, _ := strings.Cut(string(b), "\n\n")
	for line := range strings.Lines(directives) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch word {
		case "":
		case "run":
			c.programs = strings.Fields(rest)
		case "with":
			c.with = rest
		case "needs":
			c.needs = rest
		case "without":
			c.without = strings.Fields(rest)
		case "feed":
			sample, err := hex.DecodeString(rest)
			if err != nil {
				t.Fatal(err)
			}
			c.feed = append(c.feed, sample)
		default:
			parts := strings.SplitN(rest, " ", 3)
			w := wanted{loaders: strings.Split(word, ","), answer: answer{sure: parts[0]}}
			if len(parts) == 3 {
				w.typ, w.json = parts[1], os.Expand(parts[2], ownValue)
			}
			c.answers = append(c.answers, w)
		}
	}
	return c
}

// ownValue returns what a variable of an answer stands for.
func ownValue(name string) string {
	if name == "pid" {
		return fmt.Sprint(os.Getpid())
	}
	comm, _ := os.ReadFile("/proc/self/comm")
	return strings.TrimSpace(string(comm))
}

// wanted returns the answers for the records of an object that the loader loaded.
func (c *corpusCase) wanted(loader string) (found []wanted) {
	if found = c.only(loader); found != nil {
		return found
	}
	for _, w := range c.answers {
		if w.loaders[0] == "all" {
			if loader == "owner" && w.sure != "hex" && w.sure != "any" {
				w.sure = "named"
			}
			found = append(found, w)
		}
	}
	return found
}

// only returns the answers that name the loader.
func (c *corpusCase) only(loader string) (found []wanted) {
	for _, w := range c.answers {
		if slices.Contains(w.loaders, loader) {
			found = append(found, w)
		}
	}
	return found
}

// answerOf returns how a record is shown with the types that were found.
func answerOf(found *infer.Result, record []byte) answer {
	unknown := answer{sure: "hex"}
	if found.Set == nil {
		return unknown
	}
	codec, err := found.Set.Codec(record)
	if err != nil {
		return unknown
	}
	text, err := codec.AppendJSON(nil, record)
	if err != nil {
		return answer{sure: err.Error()}
	}
	got := answer{found.Certainty.String(), codec.Name(), string(text)}
	least := infer.Certain
	for _, s := range found.Sites {
		if s.Type != nil && s.Type.TypeName() == codec.Name() {
			least = min(least, s.Certainty)
			got.sure = least.String()
		}
	}
	if codec.KnownBy() != "" {
		got.sure = codec.KnownBy()
	}
	return got
}

// errCertain is that of a wrong answer that claims to be certain. None may be, not even of the cases of known.txt.
var errCertain = errors.New("wrong and certain")

// compare says how an answer differs from the right one.
func (w *wanted) compare(got answer) error {
	wrong := w.contradicted(got)
	switch {
	case wrong != nil && got.sure == "certain":
		return fmt.Errorf("%w: %w", errCertain, wrong)
	case w.sure == "any":
		return nil
	case wrong != nil:
		return wrong
	case w.sure == "named",
		w.sure == "known" && got.sure != "reconstructed",
		w.sure == got.sure:
		return nil
	}
	return fmt.Errorf("it is %s, want %s", got.sure, w.sure)
}

// contradicted says how type and values of an answer differ from the right ones.
func (w *wanted) contradicted(got answer) error {
	switch {
	case (got.sure == "hex") != (w.sure == "hex"):
		return fmt.Errorf("want %s %s", w.sure, w.typ)
	case got.sure == "hex":
		return nil
	}
	if w.typ != "*" && got.typ != w.typ {
		return fmt.Errorf("want %s %s", w.sure, w.typ)
	}
	right, err := leaves(w.json)
	if err != nil {
		return fmt.Errorf("the answer is no JSON: %w", err)
	}
	shown, err := leaves(got.json)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(right)) {
		if shown[name] != right[name] {
			return fmt.Errorf("%s is %q, want %q", name, shown[name], right[name])
		}
	}
	if len(shown) != len(right) && got.sure != "reconstructed" {
		return errors.New("there are other fields")
	}
	return nil
}

// leaves returns the values of a JSON object by their path. A boolean is a number: instructions do not tell
// them apart.
func leaves(text string) (map[string]string, error) {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	found := map[string]string{}
	addValues(found, "", v)
	return found, nil
}

func addValues(found map[string]string, path string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			addValues(found, path+"."+name, member)
		}
	case []any:
		for i, element := range v {
			addValues(found, fmt.Sprintf("%s[%d]", path, i), element)
		}
	case bool:
		found[path] = "0"
		if v {
			found[path] = "1"
		}
	default:
		found[path] = fmt.Sprint(v)
	}
}
