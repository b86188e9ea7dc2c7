package runner

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
)

// VerifierError is a program that the kernel refuses. Its text is one line: the verifier's last words and the source line that
// they are about.
type VerifierError struct {
	// Source is the line of C, and where it is, such as "x = *p; @ prog.bpf.c:12"; empty without BTF.
	Source string
	// Says are the last lines of the verifier's log before the summary, without instructions and registers.
	Says []string
	// Log is the whole log.
	Log []string
	err error
}

func (e *VerifierError) Unwrap() error { return e.err }

// Error implements error.
func (e *VerifierError) Error() string {
	text := "the verifier refuses it: " + strings.Join(e.Says, "; ")
	if e.Source != "" {
		text += ", at: " + e.Source
	}
	return text
}

// instruction matches a line of the log that shows an instruction or registers, such as "3: (85) call ..." and "R1=ctx()".
var instruction = regexp.MustCompile(`^\s*(\d+: |from \d+ to \d+|R\d+(_[a-z]+)?=)`)

// summary matches the lines at the end of a log.
var summary = regexp.MustCompile(`^(processed \d+ insns|verification time|stack depth|max_states|mark_precise|arg#\d+ )`)

// report begins what Linux 7.3 appends to a log: the same reason in more words, with excerpts of source and instructions.
const report = "Verification failed:"

// mostSaid is how many of the last lines of a log an error has.
const mostSaid = 3

// explainLog returns the verifier's reason in a log.
func explainLog(err error, log []string) *VerifierError {
	e := &VerifierError{Log: log, err: err}
	if i := slices.IndexFunc(log, func(line string) bool { return strings.HasPrefix(line, report) }); i >= 0 {
		log = log[:i]
	}
	for _, line := range slices.Backward(log) {
		text := strings.TrimSpace(line)
		switch {
		case text == "" || summary.MatchString(text):
		case strings.HasPrefix(text, "; "):
			if e.Source == "" {
				e.Source = strings.TrimPrefix(text, "; ")
			}
		case !instruction.MatchString(text) && len(e.Says) < mostSaid && e.Source == "":
			e.Says = append(e.Says, text)
		}
		if e.Source != "" {
			break
		}
	}
	slices.Reverse(e.Says)
	if len(e.Says) == 0 {
		e.Says = []string{err.Error()}
	}
	return e
}

// explainLoad says in one line why the object cannot be loaded.
func (o *Object) explainLoad(err error) error {
	log, ok := errors.AsType[*ebpf.VerifierError](err)
	if !ok {
		return o.explainTarget(err)
	}
	text := err.Error()
	prefix, _, _ := strings.Cut(text, log.Error())
	prefix = strings.TrimPrefix(strings.TrimSuffix(prefix, ": "), "load collection: ")
	if len(log.Log) == 0 {
		return fmt.Errorf("%s: %w", strings.TrimSuffix(prefix, ":"), log.Cause)
	}
	return fmt.Errorf("%s: %w", prefix, explainLog(log, log.Log))
}

// explainTarget adds near names to the error for a program whose target does not exist.
func (o *Object) explainTarget(err error) error {
	for name, p := range o.spec.Programs {
		if missing := absent(parseSection(p.SectionName)); missing != nil && strings.Contains(err.Error(), "program "+name+":") {
			return fmt.Errorf("program %s: %w", name, missing)
		}
	}
	return err
}
