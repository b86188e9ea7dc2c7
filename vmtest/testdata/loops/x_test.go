package loops

import "testing"

func TestLoopsForEver(t *testing.T) {
	for {
	}
}
