//! Made-up values in many forms and three languages: none is left, and few innocent numbers are taken.
#![allow(clippy::unwrap_used, reason = "an unwrap here is an assertion of the test")]

#[path = "kit/mod.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test uses its part; `pub` means: for the test")]
mod kit;

use kit::{ALL, Call};

/// A generator of numbers that needs no state of a process: xorshift64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.roll(all.len() as u64) as usize]
    }

    fn digits(&mut self, count: usize) -> String {
        (0..count).map(|_| char::from(b'0' + self.roll(10) as u8)).collect()
    }
}

/// The dev profile does not optimize, and other tests wait.
const ROUNDS: usize = if cfg!(debug_assertions) { 2_000 } else { 10_000 };

const ENGLISH: [&str; 10] = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
const KANA: [&str; 10] = ["ゼロ", "いち", "に", "さん", "よん", "ご", "ろく", "なな", "はち", "きゅう"];
const HAN: [&str; 10] = ["零", "一", "二", "三", "四", "五", "六", "七", "八", "九"];

fn value(digit: char) -> usize {
    digit as usize - '0' as usize
}

/// Digits as words, with "double" and "oh" here and there.
fn english(dice: &mut Dice, digits: &str) -> String {
    let digits: Vec<char> = digits.chars().collect();
    let (mut words, mut at) = (Vec::new(), 0);
    while at < digits.len() {
        if digits.get(at + 1) == Some(&digits[at]) && dice.roll(2) == 0 {
            words.push(format!("double {}", ENGLISH[value(digits[at])]));
            at += 2;
            continue;
        }
        words.push(if digits[at] == '0' && dice.roll(2) == 0 {
            "oh".into()
        } else {
            ENGLISH[value(digits[at])].into()
        });
        at += 1;
    }
    words.join(" ")
}

/// The digits in groups, each said in this way.
fn grouped(
    dice: &mut Dice,
    digits: &str,
    separator: &str,
    say: impl Fn(&mut Dice, &str) -> String,
) -> String {
    let (mut groups, mut rest) = (Vec::new(), digits);
    while !rest.is_empty() {
        let length = (2 + dice.roll(3) as usize).min(rest.len());
        groups.push(say(dice, &rest[..length]));
        rest = &rest[length..];
    }
    groups.join(separator)
}

/// A text with a number in it, and what must not be left of it.
fn planted(dice: &mut Dice, digits: &str) -> (String, Vec<String>) {
    let one_by_one = |table: [&'static str; 10], separator: &'static str| {
        move |_: &mut Dice, digits: &str| {
            digits.chars().map(|digit| table[value(digit)]).collect::<Vec<_>>().join(separator)
        }
    };
    let written = |_: &mut Dice, digits: &str| digits.to_owned();
    let way = dice.roll(12);
    let said = match way {
        0 => grouped(dice, digits, " ", written),
        1 => grouped(dice, digits, "-", written),
        2 => grouped(dice, digits, ", ", written),
        3 => digits.to_owned(),
        4 => english(dice, digits),
        5 => grouped(dice, digits, ", ", english),
        6 => grouped(dice, digits, "，", one_by_one(HAN, "")),
        7 => grouped(dice, digits, " ", one_by_one(KANA, " ")),
        9 => grouped(dice, digits, ", um, ", written),
        10 => grouped(dice, digits, ", um, ", english),
        11 => grouped(dice, digits, "ー", written),
        _ => grouped(dice, digits, "の", one_by_one(HAN, "")),
    };
    let (before, after) = match way {
        0..=5 | 9 | 10 => (
            dice.of(&["My number is ", "Well, it is ", "Please take ", "It is about my order. It is "]),
            dice.of(&[" thank you.", " if you want.", " please note."]),
        ),
        6 => (dice.of(&["我的号码是", "请您记住："]), dice.of(&["谢谢。", "没错。"])),
        _ => (dice.of(&["番号は", "カードは"]), dice.of(&["です。", "になります。"])),
    };
    let parts: Vec<String> = match way {
        0..=3 | 9 | 11 => said
            .split([' ', '-', ',', 'ー'])
            .filter(|part| part.len() >= 2 && part != &"um")
            .map(str::to_owned)
            .collect(),
        4 | 5 | 10 => ENGLISH.iter().map(|word| (*word).to_owned()).collect(),
        6 | 8 => HAN.iter().map(|word| (*word).to_owned()).collect(),
        _ => ["よん", "ろく", "きゅう", "ゼロ", "なな"].map(str::to_owned).to_vec(),
    };
    (format!("{before}{said}{after}"), parts)
}

#[test]
fn thousands_of_numbers_are_taken_out() {
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let mut call = Call::new(ALL);
    let mut left = Vec::new();
    for round in 0..ROUNDS as u32 {
        let digits = match round % 4 {
            0 => dice.digits(16),
            1 => dice.digits(15),
            2 => format!("0{}", dice.digits(10)),
            _ => format!("1{}{}", 3 + dice.roll(7), dice.digits(9)),
        };
        let (text, parts) = planted(&mut dice, &digits);
        let made = call.spoken(&[&text]).remove(0);
        let bare: String =
            made.split('[').map(|part| part.split_once(']').map_or(part, |(_, rest)| rest)).collect();
        if parts.iter().any(|part| {
            bare.split(|it: char| it.is_ascii() && !it.is_alphanumeric())
                .any(|word| word == part || !part.is_ascii() && word.contains(part.as_str()))
        }) {
            left.push(format!("{text}\n    {made}"));
        }
    }
    assert!(left.is_empty(), "{}\n{}", left.len(), left[..left.len().min(30)].join("\n"));
}

#[test]
fn of_thousands_of_innocent_numbers_few_are_taken() {
    let mut dice = Dice(0x2545_F491_4F6C_DD1D);
    let mut call = Call::new(ALL);
    let mut taken = Vec::new();
    let all = ROUNDS;
    for round in 0..all {
        let (day, month, year) = (1 + dice.roll(28), 1 + dice.roll(12), 1950 + dice.roll(90));
        let count = 4 + dice.roll(7) as usize;
        let (order, price) = (dice.digits(count), dice.roll(100_000));
        let text = match round % 24 {
            0 => format!("We moved here in {year} or so."),
            1 => format!("It was on {year}-{month:02}-{day:02} I think."),
            2 => format!("It was on {month}/{day}/{year} I think."),
            3 => format!("It costs ${price}.{:02} a year.", dice.roll(100)),
            4 => format!("It costs {},{:03}.50 dollars a year.", 1 + price / 1000, price % 1000),
            5 => format!("At {}:{:02} on the {day}th we met.", dice.roll(24), dice.roll(60)),
            6 => format!("My order number is {order} I think."),
            7 => format!("The invoice {order} is not paid."),
            8 => format!("There were {price} people in {} rooms.", dice.roll(100)),
            9 => format!(
                "We have {} of {} boxes, {} are broken.",
                dice.roll(1000),
                dice.roll(1000),
                dice.roll(100)
            ),
            10 => {
                format!("From {year} to {} it was {}.{}% each year.", year + 3, dice.roll(10), dice.roll(10))
            }
            11 => format!("The order is {} I think.", english(&mut dice, &order)),
            12 => format!(
                "I need {} and {} of them.",
                ENGLISH[dice.roll(10) as usize],
                ENGLISH[dice.roll(10) as usize]
            ),
            13 => format!("我在{year}年{month}月{day}日买的，花了{price}块钱。"),
            14 => format!("订单号是{order}没错。"),
            15 => format!(
                "一共{}百{}十个人，来了{}次。",
                HAN[1 + dice.roll(9) as usize],
                HAN[1 + dice.roll(9) as usize],
                HAN[1 + dice.roll(9) as usize]
            ),
            16 => format!("{year}年{month}月{day}日に{price}円で買いました。"),
            17 => format!("注文番号は{order}です。"),
            18 => {
                format!("We need {}, {} and {} of them.", dice.roll(3000), dice.roll(3000), dice.roll(3000))
            }
            19 => format!("It is {}, sorry, {} dollars.", price, 100 * dice.roll(1000)),
            20 => format!(
                "The prices are {}.50, {}.99, {}.00 and {}.25 each.",
                dice.roll(1000),
                dice.roll(1000),
                dice.roll(100),
                dice.roll(1000)
            ),
            21 => {
                format!("My account is of {year}, at {}:{:02} I paid {price}.", dice.roll(24), dice.roll(60))
            }
            22 => format!("お客さんに{}個ご案内しました。", dice.roll(100)),
            _ => format!("The room is {} by {} by {} feet.", dice.roll(100), dice.roll(100), dice.roll(100)),
        };
        let made = call.spoken(&[&text]).remove(0);
        if made != text {
            taken.push(format!("{text}\n    {made}"));
        }
    }
    // The project's goal: under 2 %.
    assert!(taken.len() * 50 < all, "{}\n{}", taken.len(), taken[..taken.len().min(30)].join("\n"));
}
