# frozen_string_literal: true

require_relative "deadline"

# A subscriber that is read in a thread of its own.
class Reading
  attr_reader :subscriber, :items

  def initialize(subscriber)
    @subscriber = subscriber
    @items = []
    @thread = Thread.new do
      subscriber.each { |item| @items << item }
    rescue Pipecast::SubscribeError => error
      error
    end
    @thread.report_on_exception = false
  end

  def payloads
    @items.grep(Pipecast::Event).map(&:payload)
  end

  def gaps
    @items.grep(Pipecast::Gap)
  end

  def await(count)
    Deadline.until("#{count} items arrive", describe: -> { "there are #{@items.size}; #{@thread.inspect}" }) do
      @items.size >= count || (!@thread.alive? && @thread.value)
    end
    @items
  end

  # What `each` returned or raised.
  def result
    raise "the subscriber goes on: #{@items.inspect}" unless @thread.join(40)

    @thread.value
  end

  def stop
    @subscriber.close
    @thread.join(40)
  end
end
