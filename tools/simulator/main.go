// Command talos-simulator runs simulated Talos nodes: processes on loopback
// addresses that answer the unmodified talosctl the way machines running Talos
// Linux would. It is a stand-in for demonstrations and tests, nothing else: no
// simulated node ever runs a workload.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/siderolabs/talos/pkg/machinery/version"
)

const usage = `Usage:
  talos-simulator serve --state DIR --nodes FILE [--reboot-delay 300ms] [--etcd-delay 300ms]
  talos-simulator version
`

// errUsage is a mistake on the command line, which has been reported already.
var errUsage = errors.New("usage")

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run executes one command and returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	command := ""
	if len(args) > 0 {
		command = args[0]
	}

	var err error

	switch command {
	case "serve":
		err = serveCommand(args[1:], stdout, stderr)
	case "version":
		fmt.Fprintf(stdout, "talos-simulator: simulated nodes that answer as Talos %s\n", version.Tag)
	case "help", "-h", "--help":
		fmt.Fprint(stdout, usage)
	default:
		fmt.Fprint(stderr, usage)

		return 2
	}

	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errUsage):
		return 2
	case err != nil:
		fmt.Fprintf(stderr, "talos-simulator: %v\n", err)

		return 1
	}

	return 0
}

// serveCommand parses the flags of "serve" and serves until it is told to stop.
func serveCommand(args []string, stdout, stderr io.Writer) error {
	var opts options

	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&opts.stateDir, "state", "", "directory that remembers the simulated nodes (required)")
	flags.StringVar(&opts.nodesFile, "nodes", "", "JSON file that lists the simulated nodes (required)")
	flags.DurationVar(&opts.rebootDelay, "reboot-delay", 300*time.Millisecond, "how long a reboot makes a node refuse connections")
	flags.DurationVar(&opts.etcdDelay, "etcd-delay", 300*time.Millisecond, "time from bootstrap or join to a healthy etcd member")

	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}

		return errUsage
	}

	if opts.stateDir == "" || opts.nodesFile == "" || flags.NArg() > 0 {
		fmt.Fprint(stderr, usage)

		return errUsage
	}

	if opts.rebootDelay < 0 || opts.etcdDelay < 0 {
		return errors.New("--reboot-delay and --etcd-delay must not be negative")
	}

	return serve(opts, stdout, stderr)
}
