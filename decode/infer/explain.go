package infer

import "fmt"

// Explain returns lines of text for people: for each site how its type was found, or why it was
// not, then the notes, the types, and what can be done to know more.
func (r *Result) Explain() []string {
	var lines []string
	for _, s := range r.Sites {
		line := s.Program + ": " + s.Call
		if s.More > 0 {
			line += fmt.Sprintf(", %d calls,", s.More+1)
		}
		if s.Size >= 0 {
			line += fmt.Sprintf(" of %d bytes", s.Size)
		}
		if s.Type != nil {
			line += ": " + s.Type.TypeName()
		}
		line += fmt.Sprintf(": %s: %s", s.Certainty, s.Why)
		if s.How != "" {
			line += " (" + s.How + ")"
		}
		lines = append(lines, line)
	}
	lines = append(lines, r.Notes...)
	if r.Set == nil {
		lines = append(lines, "records are shown in hex: "+r.Why)
	} else {
		lines = append(lines, "records are "+r.Set.String())
	}
	return append(lines, r.advice()...)
}

// advice says what a user can do to have all types known for certain.
func (r *Result) advice() []string {
	name, described := "", true
	for _, s := range r.Sites {
		if s.Certainty == Certain {
			continue
		}
		found := s.Type != nil && s.KnownBy == ""
		described = described && found
		switch {
		case s.lacks != "":
			name = s.lacks
		case name == "" && found:
			name = s.Type.TypeName()
		case name == "":
			name = "event"
		}
	}
	if name == "" {
		return nil
	}
	lines := []string{
		fmt.Sprintf("to name the type: --type %s --btf FILE, with the object file of the program", name),
		fmt.Sprintf("to give it as C: --struct FILE.h:%s, or --struct 'struct %s { ... }'", name, name),
	}
	if described {
		return append(lines, fmt.Sprintf("to have it certain: name the type in the line of the call, as in sizeof(struct %s)", name))
	}
	return append(lines, fmt.Sprintf("to have it found: add to the program: const struct %s *unused_%s __attribute__((unused));", name, name))
}
