package symbol

import "github.com/ianlancetaylor/demangle"

// maxMangled limits the length of the names that are demangled: files are not trusted, and the work may
// grow faster than the name.
const maxMangled = 4096

// readable returns the name of a function as its source in C++ or Rust has it, without parameters, or
// else name as it is. The result has at most 1024 characters, or those of name.
func readable(name string) string {
	if len(name) > maxMangled {
		return name
	}
	return demangle.Filter(name, demangle.NoParams, demangle.MaxLength(10))
}
