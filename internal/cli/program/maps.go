package program

import (
	"bytes"
	"fmt"

	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/escape"
	"github.com/rbtool/rbtool/internal/runner"
)

// mostEntries is how many entries of a map are printed.
const mostEntries = 100

// printMaps prints tables and variables: lines of text, or JSON objects.
func (s *session) printMaps() error {
	p := mapPrinter{text: s.opts.tail.Text(), host: command.Host()}
	for _, t := range s.object.Tables() {
		if err := p.table(&t); err != nil {
			return err
		}
	}
	variables, err := s.object.GlobalVariables()
	if err != nil {
		return err
	}
	for _, v := range variables {
		if err := p.variable(&v); err != nil {
			return err
		}
	}
	if _, err := s.stdout.Write(p.out); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// mapPrinter collects the lines of maps.
type mapPrinter struct {
	text bool
	host decode.Host
	out  []byte
}

func (p *mapPrinter) table(t *runner.Table) (err error) {
	n := 0
	for e, err := range t.Entries() {
		if err != nil {
			return err
		}
		if n++; n > mostEntries && p.text {
			continue
		}
		if p.text {
			err = p.textEntry(t, e)
		} else {
			err = p.jsonEntry(t, e)
		}
		if err != nil {
			return fmt.Errorf("show map %s: %w", t.Name, err)
		}
	}
	if more := n - mostEntries; more > 0 && p.text {
		p.out = fmt.Appendf(p.out, "%s: %d more entries\n", t.Name, more)
	}
	return nil
}

// textEntry adds "map[key] = value", with the sum of integers of all CPUs, or a line for each CPU that has another value than
// zero.
func (p *mapPrinter) textEntry(t *runner.Table, e runner.Entry) (err error) {
	head := fmt.Appendf(nil, "%s[", escape.String(t.Name))
	if t.Key == nil {
		head = fmt.Appendf(head, "%d", t.Index(e))
	} else if head, err = p.value(head, t.Key, e.Key); err != nil {
		return err
	}
	head = append(head, "] = "...)
	if sum, ok := t.Sum(e); ok {
		p.out = append(append(append(p.out, head...), sum...), '\n')
		return nil
	}
	for cpu, value := range e.Values {
		if t.PerCPU && !runner.NonZero(value) {
			continue
		}
		p.out = append(p.out, head...)
		if t.PerCPU {
			p.out = fmt.Appendf(p.out, "CPU %d: ", cpu)
		}
		if p.out, err = p.value(p.out, t.Value, value); err != nil {
			return err
		}
		p.out = append(p.out, '\n')
	}
	return nil
}

// value appends a value as text.
func (p *mapPrinter) value(dst []byte, c *decode.Codec, value []byte) ([]byte, error) {
	text, err := c.Printer(decode.PrintOptions{Host: p.host}).AppendText(nil, value)
	return append(dst, bytes.TrimRight(text, " ")...), err
}

// jsonEntry adds an object with the members map, key and value, or values with one for each CPU.
func (p *mapPrinter) jsonEntry(t *runner.Table, e runner.Entry) (err error) {
	p.out = append(p.out, `{"map":`...)
	p.out = append(escape.AppendJSONString(p.out, []byte(t.Name)), `,"key":`...)
	if t.Key == nil {
		p.out = fmt.Appendf(p.out, "%d", t.Index(e))
	} else if p.out, err = t.Key.AppendJSON(p.out, e.Key); err != nil {
		return err
	}
	if !t.PerCPU {
		p.out = append(p.out, `,"value":`...)
		if p.out, err = t.Value.AppendJSON(p.out, e.Values[0]); err != nil {
			return err
		}
		p.out = append(p.out, "}\n"...)
		return nil
	}
	if sum, ok := t.Sum(e); ok {
		p.out = append(append(p.out, `,"sum":`...), sum...)
	}
	p.out = append(p.out, `,"values":[`...)
	for cpu, value := range e.Values {
		if cpu > 0 {
			p.out = append(p.out, ',')
		}
		if p.out, err = t.Value.AppendJSON(p.out, value); err != nil {
			return err
		}
	}
	p.out = append(p.out, "]}\n"...)
	return nil
}

// variable adds a global variable.
func (p *mapPrinter) variable(v *runner.Variable) (err error) {
	if p.text {
		p.out = fmt.Appendf(p.out, "%s = ", escape.String(v.Name))
		p.out, err = p.value(p.out, v.Type, v.Value)
	} else {
		p.out = append(p.out, `{"variable":`...)
		p.out = append(escape.AppendJSONString(p.out, []byte(v.Name)), `,"value":`...)
		p.out, err = v.Type.AppendJSON(p.out, v.Value)
		p.out = append(p.out, '}')
	}
	if err != nil {
		return fmt.Errorf("show variable %s: %w", v.Name, err)
	}
	p.out = append(p.out, '\n')
	return nil
}
