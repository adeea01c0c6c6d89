# frozen_string_literal: true

module Pipecast
  VERSION = "0.1.0"
end
