// Clients and publishers in Go, selected by name: interop launchdarkly URL.
//
// AS_IT_COMES=1 leaves out the settings that docs/guide/clients/go.md recommends.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"
)

var asItComes = os.Getenv("AS_IT_COMES") != ""

// longestLine is above limits.max_event_size of the node; a bufio.Scanner accepts 64 KiB by default.
var longestLine = 1 << 20

func main() {
	log.SetFlags(0)
	log.SetOutput(errorLines{})
	if asItComes {
		longestLine = bufio.MaxScanTokenSize
	}
	programs := map[string]func(url string){
		"publish":      publishWithNetHTTP,
		"sample":       publishSample,
		"go-sse":       followWithGoSSE,
		"launchdarkly": followWithLaunchDarkly,
		"net-http":     followWithNetHTTP,
		"r3labs":       followWithR3labs,
	}
	url := ""
	if len(os.Args) > 2 {
		url = os.Args[2]
	}
	programs[os.Args[1]](url)
}

// printMessage prints a message that a client delivered.
func printMessage(id, channel, data string) {
	printLine(map[string]string{"id": id, "channel": channel, "data": data})
}

// errorLines prints what a client logs.
type errorLines struct{}

func (errorLines) Write(line []byte) (int, error) {
	printError(errors.New(strings.TrimSpace(string(line))))
	return len(line), nil
}

// printError prints a failure that a client reported.
func printError(failure error) {
	printLine(map[string]string{"error": failure.Error()})
}

func printLine(line any) {
	text, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(text))
}
