"""What RASP texts can use without defining it, as RASP texts.

`rasplib` is there from the start: the functions of the library of that name, and those of the programs of the paper
(Weiss, Goldberg, Yahav: "Thinking Like Transformers", 2021), written from what they compute. `paper_examples` is there
after `load "paper_examples";`. In functions whose names end in `_bos`, position 0 holds a token that marks the
beginning; it is neither counted nor moved.
"""

from typing import Final

LIBRARIES: Final = {
    "rasplib": """
full_s = select(True, True, ==);
length = selector_width(full_s);
num_prevs = selector_width(select(indices, indices, <));

def selector_width_bos(sel) { return selector_width(sel, assume_bos=True); }
def has_focus(sel) { return aggregate(sel, True, False); }
def average(seq) { return aggregate(full_s, seq); }
def count(seq, atom) { return selector_width(select(seq, atom, ==)); }
def contains(seq, atom) { return has_focus(select(seq, atom, ==)); }
def make_length() { return length; }
def max(a, b) { return b if a < b else a; }
def min(a, b) { return b if b < a else a; }

# moving values

def load_from_location(seq, location) { return aggregate(select(indices, location, ==), seq); }
def first(seq) { return load_from_location(seq, 0); }
def last(seq) { return load_from_location(seq, length - 1); }
def shift(seq, n, filler) { return aggregate(select(indices, indices - n, ==), seq, filler); }
def reverse(seq) { return load_from_location(seq, length - 1 - indices); }
def flip(seq) { return reverse(seq); }

# where a value occurs

def mark_first_instance(seq, val) {
    return seq == val and not has_focus(select(seq, val, ==) and select(indices, indices, <));
}
def mark_last_instance(seq, val) {
    return seq == val and not has_focus(select(seq, val, ==) and select(indices, indices, >));
}
def select_from_first(seq, val) { return select(mark_first_instance(seq, val), True, ==); }
def select_from_last(seq, val) { return select(mark_last_instance(seq, val), True, ==); }
def index_of_first(seq, val) { return aggregate(select_from_first(seq, val), indices, -1); }
def index_of_last(seq, val) { return aggregate(select_from_last(seq, val), indices, -1); }
def index_of(seq, val) { return index_of_first(seq, val); }

# equal values elsewhere

def select_identical_before(seq) { return select(seq, seq, ==) and select(indices, indices, <); }
def prev_copies(seq) { return selector_width(select_identical_before(seq)); }
def has_prev(seq) { return has_focus(select_identical_before(seq)); }
def has_next(seq) { return has_focus(select(seq, seq, ==) and select(indices, indices, >)); }
def select_next_identical(seq) {
    earlier = prev_copies(seq);
    return select(seq, seq, ==) and select(earlier, earlier + 1, ==);
}
def next_identical_index(seq) { return aggregate(select_next_identical(seq), indices, -1); }

# histograms

def hist(seq) { return selector_width(select(seq, seq, ==)); }
def hist_bos(seq) { return selector_width_bos(select(seq, seq, ==)); }
def _firsts_of_equal(occurrences, seq) {
    return select(occurrences, occurrences, ==) and select(has_prev(seq), False, ==);
}
def hist2(seq) { return selector_width(_firsts_of_equal(hist(seq), seq)); }
def hist2_bos(seq) { return selector_width_bos(_firsts_of_equal(hist_bos(seq), seq)); }

# sorting

def _select_before(key) {
    return select(key, key, <) or (select(key, key, ==) and select(indices, indices, <));
}
def sort(seq, key) {
    target = selector_width(_select_before(key));
    return aggregate(select(target, indices, ==), seq);
}
def sort_bos(seq, key) {
    target = 0 if indices == 0 else 1 + selector_width_bos(_select_before(key));
    return aggregate(select(target, indices, ==), seq);
}
def _rarity(seq, occurrences) { return 1 if has_prev(seq) else -occurrences; }
def most_freq(seq, filler) {
    return sort(filler if has_prev(seq) else seq, _rarity(seq, hist(seq)));
}
def most_freq_bos(seq, filler) {
    return sort_bos(filler if has_prev(seq) else seq, _rarity(seq, hist_bos(seq)));
}

# brackets

def frac_prevs(seq, val) { return aggregate(select(indices, indices, <=), indicator(seq == val)); }
def pair_balance(open, close) {
    return aggregate(select(indices, indices, <=), indicator(tokens_str == open) - indicator(tokens_str == close));
}
def shuffle_dyck(pairs) {
    exceeds = False;
    unclosed = False;
    for pair in pairs {
        balance = pair_balance(pair[0], pair[1]);
        exceeds = exceeds or balance < 0;
        unclosed = unclosed or balance > 0;
    }
    return not (contains(exceeds, True) or last(unclosed));
}
def dyck1_ptf(pair) {
    balance = pair_balance(pair[0], pair[1]);
    failed = has_focus(select(balance < 0, True, ==) and select(indices, indices, <=));
    return "F" if failed else ("T" if balance == 0 else "P");
}
def dyckk_ptf(pairs) {
    opening = tokens_str in [pair[0] for pair in pairs];
    closing = tokens_str in [pair[1] for pair in pairs];
    so_far = select(indices, indices, <=);
    depth = selector_width(select(opening, True, ==) and so_far) - selector_width(select(closing, True, ==) and so_far);
    # a closing bracket is on the level of the opening one that it closes; on a level they take turns
    level = depth + indicator(closing);
    on_level = select(level, level, ==);
    place = selector_width(on_level and so_far and select(opening or closing, True, ==));
    partner = aggregate(on_level and select(place, place - 1, ==) and select(opening, True, ==), tokens_str, "-");
    matches = partner + tokens_str in pairs;
    wrong = (closing and not matches) or depth < 0;
    failed = has_focus(select(wrong, True, ==) and so_far);
    return "F" if failed else ("T" if depth == 0 else "P");
}
""",
    "paper_examples": """
hist_bos = hist_bos(tokens_str);
hist_nobos = hist(tokens_str);
hist2_bos = hist2_bos(tokens_str);
reverse = reverse(tokens_str);
sort_bos = sort_bos(tokens_str, tokens_str);
sort_by_most_freq = most_freq_bos(tokens_str, "§");
dyck1_ptf = dyck1_ptf("()");
dyck2_ptf = dyckk_ptf(["()", "{}"]);
dyck3_ptf = dyckk_ptf(["()", "{}", "[]"]);
""",
}
