//! Neutral prompts: requests that have nothing to do with anything a user might tell about themselves.

/// What the KL term anchors the model to and what the gate takes as its centre. Everyday requests of many kinds, none
/// of them about the user.
pub const NEUTRAL_PROMPTS: &[&str] = &[
    "How does a bicycle stay upright?",
    "Write two sentences about the sea.",
    "What is the difference between a lake and a river?",
    "Give me a tip for better sleep.",
    "Explain what a computer program is.",
    "What is the capital of Canada?",
    "Tell me a short joke.",
    "How do birds fly?",
    "Name three vegetables.",
    "What does the word generous mean?",
    "Translate good morning into French.",
    "Why is the grass green?",
    "How many minutes are in an hour?",
    "Describe a rainy day.",
    "What can you help me with?",
    "Suggest a name for a coffee shop.",
    "Who was the first person on the moon?",
    "How do I boil an egg?",
    "What is two plus three?",
    "Write a polite email to cancel a meeting.",
    "What are the primary colors?",
    "Explain how a rainbow forms.",
    "Give an example of a mammal.",
    "What is the freezing point of water?",
];
