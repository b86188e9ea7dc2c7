package feature

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// cpuHotplug tells whether tests may switch CPU 1 off: only in a guest of vmtest, which mounts the directory that it shares on /media.
func cpuHotplug() error {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	if !strings.Contains(string(mounts), " /media 9p ") {
		return errors.New("this is no guest of vmtest")
	}
	if _, err := os.Stat("/sys/devices/system/cpu/cpu1/online"); err != nil {
		return fmt.Errorf("CPU 1 stays online: %w", err)
	}
	return nil
}
