package ring

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/cli/command"
)

// series is a series of files with numbers in their names, such as events-000001.pcapng.
type series struct {
	dir       string
	stem, ext string
	keep      int    // most files to keep; 0 keeps all
	current   string // the file that this recording writes
}

// digits is the least number of digits in the name of a file of a series: names sort by age.
const digits = 6

// newSeries returns the series of path.
func newSeries(path string, keep int) *series {
	dir, file := filepath.Split(path)
	ext := filepath.Ext(file)
	return &series{dir: dir, stem: strings.TrimSuffix(file, ext) + "-", ext: ext, keep: keep}
}

// check returns an error if another process records to the series.
func (s *series) check() error {
	numbers, err := s.numbers()
	if err != nil || len(numbers) == 0 {
		return err
	}
	return whileFree(s.name(numbers[len(numbers)-1]), func() error { return nil })
}

// whileFree calls f if no other recorder writes the file, and keeps them from appending to it meanwhile. It returns an error
// with [command.StatusBusy] if one does.
func whileFree(name string, f func() error) error {
	file, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return f() // unreadable files are not those of recorders
	}
	defer file.Close()
	if err := lock(file); err != nil {
		return err
	}
	return f()
}

// create creates the file that follows the last one of the series, also if that is of an earlier recording, and
// removes the oldest files that are more than keep.
func (s *series) create() (*recordFile, error) {
	for {
		numbers, err := s.numbers()
		if err != nil {
			return nil, err
		}
		number := uint64(1)
		if n := len(numbers); n > 0 {
			number = numbers[n-1] + 1
		}
		f, err := create(s.name(number))
		if errors.Is(err, fs.ErrExist) {
			continue // another recording has just created it
		}
		if err != nil {
			return nil, err
		}
		if err := s.removeOldest(append(numbers, number)); err != nil {
			return nil, errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
		s.current = f.Name()
		return &recordFile{File: f, series: s}, nil
	}
}

func (s *series) name(number uint64) string {
	return s.dir + fmt.Sprintf("%s%0*d%s", s.stem, digits, number, s.ext)
}

// numbers returns the numbers of the files of the series, sorted.
func (s *series) numbers() (list []uint64, err error) {
	dir := s.dir
	if dir == "" {
		dir = "."
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		middle, ok := strings.CutPrefix(e.Name(), s.stem)
		middle, fits := strings.CutSuffix(middle, s.ext)
		number, err := strconv.ParseUint(middle, 10, 63)
		if ok && fits && err == nil && s.dir+e.Name() == s.name(number) {
			list = append(list, number)
		}
	}
	slices.Sort(list)
	return list, nil
}

// removeOldest removes the first of the files with these numbers, all but keep. It leaves those that other recorders write.
func (s *series) removeOldest(numbers []uint64) error {
	if s.keep == 0 {
		return nil
	}
	for _, number := range numbers[:max(0, len(numbers)-s.keep)] {
		name := s.name(number)
		remove := func() error { return os.Remove(name) }
		var err error
		if name == s.current {
			err = remove()
		} else {
			err = whileFree(name, remove)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) && command.StatusOf(err) != command.StatusBusy {
			return err
		}
	}
	return nil
}
