package floods

import (
	"fmt"
	"strings"
	"testing"
)

// 10 MB, with a last line that shows that all of it came.
func TestPrints10MB(t *testing.T) {
	line := strings.Repeat("x", 999)
	for range 10_000 {
		fmt.Println(line)
	}
	t.Error("the end of the flood")
}
