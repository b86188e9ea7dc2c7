package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
)

// event is one line of output of `go tool test2json` (cmd/test2json, TestEvent).
type event struct {
	Action, Test, Output string
	Elapsed              float64 // seconds
}

// missingFeature matches the message with which testenv.SkipWithout skips a test.
var missingFeature = regexp.MustCompile(`missing feature ([A-Za-z0-9_-]+)(:|\s*$)`)

// Tests parses the output of `go tool test2json`, and returns the tests in the order of their
// start.
func Tests(r io.Reader) ([]Test, error) {
	var tests []Test
	index := map[string]int{}
	output := map[string]*bytes.Buffer{}
	for dec := json.NewDecoder(r); ; {
		var e event
		if err := dec.Decode(&e); err == io.EOF {
			break
		} else if err != nil {
			return nil, fmt.Errorf("read test events: %w", err)
		}
		if e.Test == "" {
			continue
		}
		i, ok := index[e.Test]
		if !ok {
			i = len(tests)
			index[e.Test], output[e.Test] = i, new(bytes.Buffer)
			tests = append(tests, Test{Name: e.Test, Result: Unfinished, Leaf: true})
		}
		switch e.Action {
		case "output":
			output[e.Test].WriteString(e.Output)
		case "pass", "fail", "skip":
			tests[i].Result = Result(e.Action)
			tests[i].Elapsed = time.Duration(e.Elapsed * float64(time.Second))
		}
	}
	for i := range tests {
		finish(&tests[i], tests, output[tests[i].Name].String())
	}
	return tests, nil
}

// finish completes the result of test t when all events have been read.
func finish(t *Test, all []Test, output string) {
	inside := func(sub Test) bool { return strings.HasPrefix(sub.Name, t.Name+"/") }
	t.Leaf = !slices.ContainsFunc(all, inside)
	if t.Result == Fail || t.Result == Unfinished {
		// A test that failed only because a subtest failed is not counted.
		own := !slices.ContainsFunc(all, func(sub Test) bool { return inside(sub) && sub.Result == t.Result })
		t.Leaf = t.Leaf || own
		t.Output = tail(output, 16<<10)
	}
	if t.Result != Skip {
		return
	}
	t.Reason = reason(output)
	if m := missingFeature.FindStringSubmatch(t.Reason); m != nil {
		t.Feature = m[1]
	}
}

// reason returns why a test was skipped: the last message of its output.
func reason(output string) string {
	var last string
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- ") {
			last = line
		}
	}
	return last
}

// framing is what -test.v=test2json adds to the output of -test.v: a mark before lines of the
// testing package, and the name of the test that continues.
var framing = regexp.MustCompile(`(?m)^\x16=== NAME .*\n|\x16`)

// Plain returns output of -test.v=test2json without its framing.
func Plain(output []byte) string { return string(framing.ReplaceAll(output, nil)) }

// tail returns the end of s, at most limit bytes of it, from the start of a line if possible. If it cuts
// something off, the first line says so.
func tail(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	s = s[len(s)-limit:]
	if i := strings.IndexByte(s, '\n'); i >= 0 && i < len(s)-1 {
		s = s[i+1:]
	}
	return "[...]\n" + s
}

// Count sets Pass, Fail and Skip from the results of Tests.
func (p *Package) Count() {
	p.Pass, p.Fail, p.Skip = 0, 0, 0
	for _, t := range p.Tests {
		switch {
		case !t.Leaf:
		case t.Result == Pass:
			p.Pass++
		case t.Result == Skip:
			p.Skip++
		default:
			p.Fail++
		}
	}
}
