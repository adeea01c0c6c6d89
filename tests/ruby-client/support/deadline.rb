# frozen_string_literal: true

# Waits for a condition, never for an amount of time.
module Deadline
  def self.now
    Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end

  # Returns the first true value of the block, or fails after the deadline. `describe` then tells how far things got.
  def self.until(what, seconds: 40, describe: -> { "nothing else is known" })
    deadline = now + seconds
    until (value = yield)
      raise "not within #{seconds} s: #{what}; #{describe.call}" if now > deadline

      sleep(0.01)
    end
    value
  end
end
