package main

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// stream is the state of a reconnect loop around net/http.
type stream struct {
	client      http.Client
	url         string
	lastEventID string
	retry       time.Duration
}

// followWithNetHTTP reads with net/http, which asks for gzip and decompresses; GZIP=off disables that.
func followWithNetHTTP(url string) {
	reader := stream{url: url, retry: time.Second}
	reader.client.Transport = &http.Transport{DisableCompression: os.Getenv("GZIP") == "off"}
	for {
		refused, err := reader.read()
		if err != nil {
			printError(err)
		}
		if refused {
			return
		}
		time.Sleep(reader.retry)
	}
}

// read reads one answer to its end.
func (s *stream) read() (refused bool, err error) {
	request, err := http.NewRequest(http.MethodGet, s.url, nil)
	if err != nil {
		return true, err
	}
	request.Header.Set("Accept", "text/event-stream")
	if s.lastEventID != "" {
		request.Header.Set("Last-Event-ID", s.lastEventID)
	}
	answer, err := s.client.Do(request)
	if err != nil {
		return false, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return true, fmt.Errorf("answered %s", answer.Status)
	}

	lines := bufio.NewScanner(answer.Body)
	if !asItComes {
		// A line may be as long as limits.max_event_size of the node.
		lines.Buffer(nil, 1<<20)
	}
	fields := map[string]string{}
	for lines.Scan() {
		if name, value, found := strings.Cut(lines.Text(), ":"); found {
			fields[name] = strings.TrimPrefix(value, " ")
		} else if lines.Text() == "" {
			s.take(fields)
			clear(fields)
		}
	}
	return false, lines.Err()
}

func (s *stream) take(fields map[string]string) {
	if milliseconds, err := strconv.Atoi(fields["retry"]); err == nil {
		s.retry = time.Duration(milliseconds) * time.Millisecond
	}
	if id, found := fields["id"]; found {
		s.lastEventID = id
	}
	if data, found := fields["data"]; found {
		printMessage(s.lastEventID, fields["event"], data)
	}
}
