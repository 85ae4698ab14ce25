"""The error messages of a 400, exactly as in the reference pages."""

ID_NOT_VALID = "Message id {0} is not valid."
NOT_FOR_CLIENT = "Message {0} is not valid for the client."
NO_RECIPIENTS = "The count of mobile numbers or subscribers cannot be zero."
NUMBERS_AND_SUBSCRIBERS = (
    "An array of mobile numbers and an array of subscribers cannot be provided at the same time."
)
SUBSCRIBER_INCOMPLETE = (
    "A subscriber object must have both a mobile number and subscriber key defined."
)
KEYWORD_BLANK = "Keyword cannot be blank when Subscribe or Resubscribe are true."
KEYWORD_NOT_NECESSARY = "Keyword is not necessary when Subscribe and Resubscribe are false."
KEYWORD_INVALID = "Keyword {0} is invalid for the code on the message."
MESSAGE_BLANK = "Message is blank and no override message was provided."
OVERRIDE_BLANK = "Cannot override message text with a blank message."
TEXT_NOT_APPLICABLE = "MessageText is not applicable when Override is false."
UNEXPECTED = "An unexpected error occurred, please contact Customer Support with reference id {0}."
PHONE_INVALID = "Invalid phone number"
NO_VALID_SUBSCRIBERS = "No valid subscribers were provided."
OFFSET_NOT_VALID = "{0} is not a valid UTC offset."
START_NOT_VALID = "{0} is not a valid blackout window start time."
SEND_TIME_NOT_VALID = "{0} is not a valid send time (yyyy-MM-dd HH:mm)."
NOT_ACTIVE = "The Message must be in Active status in order to send."
NOT_NUMERIC = "{0} is not a numeric string"

DOCUMENTED = (
    ID_NOT_VALID,
    NOT_FOR_CLIENT,
    NO_RECIPIENTS,
    NUMBERS_AND_SUBSCRIBERS,
    SUBSCRIBER_INCOMPLETE,
    KEYWORD_BLANK,
    KEYWORD_NOT_NECESSARY,
    KEYWORD_INVALID,
    MESSAGE_BLANK,
    OVERRIDE_BLANK,
    TEXT_NOT_APPLICABLE,
    UNEXPECTED,
    PHONE_INVALID,
    NO_VALID_SUBSCRIBERS,
    OFFSET_NOT_VALID,
    START_NOT_VALID,
    SEND_TIME_NOT_VALID,
    NOT_ACTIVE,
    NOT_NUMERIC,
)
"""In the order of the reference, which numbers the magic message ids."""

TOKEN_NOT_VALID = "Token id {0} is not valid."  # noqa: S105  its wording, no secret # nosec B105

# Not documented; by analogy with the start time, and with the maximum of other calls.
END_NOT_VALID = "{0} is not a valid blackout window end time."
TOO_MANY = "The count of mobile numbers or subscribers cannot exceed 250."
