package main

import (
	"errors"
	"log"
	"time"

	"github.com/launchdarkly/eventsource"
)

func followWithLaunchDarkly(url string) {
	options := []eventsource.StreamOption{eventsource.StreamOptionErrorHandler(closeWhenRefused)}
	if !asItComes {
		options = append(options,
			eventsource.StreamOptionCanRetryFirstConnection(-1),
			eventsource.StreamOptionReadTimeout(45*time.Second),
		)
	}
	stream, err := eventsource.SubscribeWithURL(url, options...)
	if err != nil {
		printError(err)
		return
	}
	for event := range stream.Events {
		printMessage(event.Id(), event.Event(), event.Data())
	}
}

func closeWhenRefused(failure error) eventsource.StreamErrorHandlerResult {
	log.Print(failure)
	var refused eventsource.SubscriptionError
	return eventsource.StreamErrorHandlerResult{CloseNow: errors.As(failure, &refused)}
}
