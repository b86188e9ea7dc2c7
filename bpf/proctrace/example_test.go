package proctrace_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os/exec"

	"github.com/rbtool/rbtool/bpf/proctrace"
	"github.com/rbtool/rbtool/consumer"
)

// The events of a process are in the order of its life.
func Example() {
	tracer, err := proctrace.Load(proctrace.Options{RingBytes: 1 << 20})
	if err != nil {
		log.Fatal(err)
	}
	defer tracer.Close()
	if err := tracer.Attach(); err != nil {
		log.Fatal(err)
	}
	reader, err := consumer.NewReader(tracer.Events(), consumer.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer reader.Close()

	cmd := exec.Command("/bin/sh", "-c", "exit 3")
	_ = cmd.Run()
	for {
		record, err := reader.Read(context.Background())
		if err != nil {
			log.Fatal(err)
		}
		event, err := proctrace.Decode(record.Data)
		if err != nil {
			log.Fatal(err)
		}
		if int(event.TGID) != cmd.Process.Pid {
			continue
		}
		switch event.Type {
		case proctrace.Fork:
			fmt.Println("fork")
		case proctrace.Exec:
			fmt.Println("exec", event.Filename)
		case proctrace.Exit:
			fmt.Println("exit", event.ExitCode)
			return
		}
	}
	// Output:
	// fork
	// exec /bin/sh
	// exit 3
}

// Watching a name makes the tracer leave out the events of all other processes.
func ExampleTracer_Watch() {
	tracer, err := proctrace.Load(proctrace.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer tracer.Close()
	if err := tracer.Attach(); err != nil {
		log.Fatal(err)
	}
	subject := proctrace.Subject{Comm: "no-such-name"}
	if err := tracer.Watch(subject); err != nil {
		log.Fatal(err)
	}
	_ = exec.Command("/bin/true").Run()
	stats, err := tracer.Stats()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(stats.Watches, "watched,", stats.Exec.Ignored > 0)

	fmt.Println(tracer.Forget(subject), errors.Is(tracer.Forget(subject), fs.ErrNotExist))
	// Output:
	// 1 watched, true
	// <nil> true
}
