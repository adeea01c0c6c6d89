# frozen_string_literal: true

class Note < ActiveRecord::Base
  after_create_commit { PublishNoteJob.perform_later(self) }
end
