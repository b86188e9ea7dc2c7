package feature

import "github.com/rbtool/rbtool/internal/bpf/userdrains"

// drainResults attaches the program that counts the results of bpf_user_ringbuf_drain.
func drainResults() error {
	c, err := userdrains.New()
	if err != nil {
		return err
	}
	return c.Close()
}
