package srcline

import "sync"

// maxRecent is how many bytes of lines are kept. What is kept of a line takes about ten times as many.
const maxRecent = 128 << 10

// cache has lines that have been read: all that is asked about a record is asked of the same lines. The zero value is
// ready for use, by any number of goroutines.
type cache struct {
	mu    sync.Mutex
	lines map[string]*Line
	size  int
}

var recent cache

// find returns the line, nil if it is not kept.
func (c *cache) find(text string) *Line {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lines[text]
}

// add keeps a line. If there are too many, it forgets the others.
func (c *cache) add(text string, l *Line) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.size += len(text); c.lines == nil || c.size > maxRecent {
		c.lines, c.size = map[string]*Line{}, len(text)
	}
	c.lines[text] = l
}
