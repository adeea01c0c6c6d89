# frozen_string_literal: true

class ApplicationController < ActionController::Base
  before_action :require_user
  helper_method :current_user

  private

  def current_user
    session[:user]
  end

  def require_user
    redirect_to new_session_path unless current_user
  end
end
