package floods

import (
	"fmt"
	"strings"
	"testing"
)

// Prints 10 MB, and a last line by which the host sees that all of it arrived.
func TestPrints10MB(t *testing.T) {
	line := strings.Repeat("x", 999)
	for range 10_000 {
		fmt.Println(line)
	}
	t.Error("the end of the flood")
}
