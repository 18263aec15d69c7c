//! Values that are planted in three languages are taken out, and innocent numbers stay.
#![allow(clippy::unwrap_used, reason = "an unwrap here is an assertion of the test")]

#[path = "kit/mod.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test uses its part; `pub` means: for the test")]
mod kit;

use kit::{ALL, Call, redacted};

/// Text with the value between bars, and the token that stands in its place.
const PLANTED: &[(&str, &str)] = &[
    // Cards.
    ("My card is |4242 4242 4242 4242|, thanks.", "CARD"),
    ("My card is |4242-4242-4242-4242|, thanks.", "CARD"),
    ("My card is |4242.4242.4242.4242| thanks.", "CARD"),
    ("My card is |4242424242424242| thanks.", "CARD"),
    ("A misheard digit: |4242 4242 4242 4243| thanks.", "CARD"),
    ("My card is |4242, 4242, 4242, 4242|. Thanks.", "CARD"),
    ("My card is |42424.24 2424242.42|. Thanks", "CARD"),
    ("Amex |3782 822463 10005| is the one.", "CARD"),
    ("It is |4 2 4 2 4 2 4 2 4 2 4 2 4 2 4 2| yes sir.", "CARD"),
    ("It is |four two four two four two four two four two four two four two four two| thanks a lot.", "CARD"),
    ("It is |forty-two forty-two forty two forty two 42 42 42 42| thanks a lot.", "CARD"),
    (
        "It is |double four double four double four double four oh oh one two three four five six| thanks.",
        "CARD",
    ),
    ("It is |four two four two, um, four two four two, yes, 4242 4242| thanks.", "CARD"),
    ("卡号是|四二四二四二四二四二四二四二四二|谢谢。", "CARD"),
    ("卡号是|四二四二 四二四二 四二四二 四二四二|，谢谢。", "CARD"),
    ("卡号是|四二四二，嗯，四二四二，四二四二，四二四二|，谢谢。", "CARD"),
    ("卡号是|６２２８ ４８００ ００００ ００００ ０１８|谢谢。", "CARD"),
    ("卡号是|6228480000000000018|谢谢。", "CARD"),
    ("カード番号は|四二四二四二四二四二四二四二四二|です。", "CARD"),
    ("カード番号は|よん に よん に よん に よん に よん に よん に よん に よん に|です。", "CARD"),
    ("カード番号は|よんによんによんによんによんによんによんによんに|です。", "CARD"),
    ("カード番号は|4242の4242の4242の4242|です。", "CARD"),
    ("卡号是|四二四二，那个，四二四二，啊，四二四二，就是四二四三|，谢谢。", "CARD"),
    ("カード番号は|四二四二、で、四二四まる、えー、四二四二、あの、まる二四二|です。", "CARD"),
    ("カードの|ごごはちはち、さんななゼロに、さんゼロはちなな、ろくななろくいち|から落とされました", "CARD"),
    ("カード番号は|六まる一一六四七四四三まる六まる三一六|です。", "CARD"),
    ("It is |4242 4242 let me see 4242 4242| thanks.", "CARD"),
    ("It is |4242 4242 sorry wait, 4242 4243| thanks.", "CARD"),
    ("It is |4242 4242 4242 and the last four are 4242|", "CARD"),
    ("卡号是|四二四二四二四二然后四二四二四二四二|。", "CARD"),
    ("卡号是|4242 4242 4242，后四位是4242|。", "CARD"),
    ("رقم البطاقة |٤٢٤٢ ٤٢٤٢ ٤٢٤٢ ٤٢٤٢| شكرا", "CARD"),
    ("کارت |۴۲۴۲-۴۲۴۲-۴۲۴۲-۴۲۴۲| است", "CARD"),
    ("मेरा कार्ड |४२४२ ४२४२ ४२४२ ४२४२| है", "CARD"),
    ("บัตร |๔๒๔๒๔๒๔๒๔๒๔๒๔๒๔๒| ค่ะ", "CARD"),
    ("カード番号は|4242 4242、それから、4242 4242|です。", "CARD"),
    ("カード番号は|4242・4242・4242・4242|です。", "CARD"),
    ("カードは|よんに よんに よんに よんに よんに よんに よんに よんに|です。", "CARD"),
    // Phones.
    ("Call me at |555-123-4567| please.", "PHONE"),
    ("My mobile's |810 12 65 30| okay.", "PHONE"),
    ("It's |2123 1304|, that's the landline.", "PHONE"),
    ("您回拨|61235875|可以吗", "PHONE"),
    ("折り返しは|81232163|にお願いします", "PHONE"),
    ("|2123 4350|からかけています", "PHONE"),
    ("|ゼロいちにいち、にさんよん、いちななゼロご|からかけています", "PHONE"),
    ("麻烦留个号码，|81238640|，好的", "PHONE"),
    ("Call me at |(555) 123-4567| please.", "PHONE"),
    ("Call me at |555.123.4567| please.", "PHONE"),
    ("Call me at |5551234567| please.", "PHONE"),
    ("It is |+1 555 123 4567| please.", "PHONE"),
    ("It is |+86 138 1234 5678| please.", "PHONE"),
    ("It is |+44 (0)20 7946 0958| please.", "PHONE"),
    ("It is |020 7946 0958| please.", "PHONE"),
    ("It is |+49 30 123456| please.", "PHONE"),
    ("It is |0049 30 1234567| please.", "PHONE"),
    ("It is |01 42 68 53 00| please.", "PHONE"),
    ("It is |555-1234| please.", "PHONE"),
    ("Call |555-123-4567 ext. 204| please.", "PHONE"),
    ("Call |555-123-4567, extension 12| please.", "PHONE"),
    ("It is |five five five, one two three, four five six seven| thanks.", "PHONE"),
    ("It is |five five five dash one two three dash four five six seven| thanks.", "PHONE"),
    ("It is |oh two oh seven nine four six oh nine five eight| thanks.", "PHONE"),
    ("It is |one eight hundred five five five one two one two| thanks.", "PHONE"),
    ("It is |plus four four seven seven double oh nine hundred one two three| thanks.", "PHONE"),
    ("我的手机是|13812345678|谢谢。", "PHONE"),
    ("我的手机是|138 1234 5678|谢谢。", "PHONE"),
    ("我的手机是|幺三八幺二三四五六七八|谢谢。", "PHONE"),
    ("我的手机是|一三八，一二三四，五六七八|谢谢。", "PHONE"),
    ("电话|010-12345678|谢谢。", "PHONE"),
    ("电话|零幺零 一二三四五六七八|谢谢。", "PHONE"),
    ("电话|１３８１２３４５６７８|谢谢。", "PHONE"),
    ("尾号三个8，电话|138三个8 五六七八九|谢谢。", "PHONE"),
    ("電話番号は|090-1234-5678|です。", "PHONE"),
    ("電話番号は|ゼロ九ゼロの一二三四の五六七八|です。", "PHONE"),
    ("電話番号は|ぜろ きゅう ぜろ いち に さん よん ご ろく なな はち|です。", "PHONE"),
    ("電話番号は|ゼロキュウゼロイチニサンヨンゴロクナナハチ|です。", "PHONE"),
    ("電話番号は|〇三、一二三四、五六七八|です。", "PHONE"),
    ("I have a question about my order. My number is |555-123-4567|, thanks.", "PHONE"),
    ("My order is late, call |5551234567| please.", "PHONE"),
    ("Just in case, it is |(555) 123-4567| okay.", "PHONE"),
    ("Just in case, it is |5551234567| okay.", "PHONE"),
    ("The item, my number is |020 7946 0958| okay.", "PHONE"),
    ("我的订单有问题，我的号码是|13812345678|谢谢。", "PHONE"),
    ("我的订单有问题，|13812345678|谢谢。", "PHONE"),
    ("予約の件です。番号は|090-1234-5678|です。", "PHONE"),
    ("予約は|090-1234-5678|です。", "PHONE"),
    ("It is |five five five um one two three four five six seven| thanks.", "PHONE"),
    ("It is |555, 123 4567| thanks.", "PHONE"),
    ("It is |555, 123-4567| thanks.", "PHONE"),
    ("It is |555, 1234567| thanks.", "PHONE"),
    ("My number is |020, 7946 0958|.", "PHONE"),
    ("It is |020, 7946 2019| or so.", "PHONE"),
    ("号码是|138，12345678|。", "PHONE"),
    ("电话|〇一〇，嗯，一二三四五六七八|。", "PHONE"),
    ("番号は|090、えっと、12345678|です。", "PHONE"),
    ("番号は|090ー1234ー5678|です。", "PHONE"),
    ("番号は|090・1234・5678|です。", "PHONE"),
    ("My number is |five five five one two three four| thanks", "PHONE"),
    ("My number is |5551234| thanks", "PHONE"),
    ("It is |0049, 151 23456789| thanks", "PHONE"),
    ("It is |0511 56 133, um, 0| thanks", "PHONE"),
    ("It is |0575,37, 33, 44| thanks", "PHONE"),
    ("携帯は|ゼロキュウゼロニイチニイチニイチイチ|です。", "PHONE"),
    ("番号は|ゼロに、にいちにさん、さんはちゼロに|です。", "PHONE"),
    ("電話番号は|まる九まるの一二三四の五六七八|です。", "PHONE"),
    ("携帯は|二一二三八五二まる|です。", "PHONE"),
    ("携帯は|〇九〇、あの、一二三四、えー、五六七八|です。", "PHONE"),
    ("手机号是|一三八，后面是一二三四，然后五六七八|。", "PHONE"),
    ("电话：|零九零，啊，一二三四，哦，五六七八|。", "PHONE"),
    ("请打|二一二三六八三八|找我。", "PHONE"),
    ("|二一二三六八三八|にお電話ください。", "PHONE"),
    ("|ろくいちにさんよんごろくななに|お電話ください。", "PHONE"),
    ("|5550199| is my number.", "PHONE"),
    ("|二一二三六八三八|是我的手机。", "PHONE"),
    // E-mail.
    ("Please mail me at |john.smith@example.com| okay?", "EMAIL"),
    ("My email is |john at the rate gmail dot com| okay?", "EMAIL"),
    ("Write to |maria at sign my dash shop dot com| please.", "EMAIL"),
    ("邮箱是|john杠kim艾特t杠online点de|谢谢", "EMAIL"),
    ("邮箱是|zhangsan爱特my杠shop点com|谢谢", "EMAIL"),
    ("邮箱是|张三@qq.com|谢谢", "EMAIL"),
    ("邮箱是|zhang三@qq.com|谢谢", "EMAIL"),
    ("邮箱是 |李雷 at 163 点 com| 谢谢", "EMAIL"),
    ("メールは|tanaka、アットマーク、gmail、ドット、com|です", "EMAIL"),
    ("Write to |john.doe@example.com| please.", "EMAIL"),
    ("Write to |John.Doe+x@Example.co.uk|, please.", "EMAIL"),
    ("My email is |john dot doe at example dot com| okay?", "EMAIL"),
    ("Write to |john@example.com|. It is urgent.", "EMAIL"),
    ("My mail is |john at example dot com|. No more.", "EMAIL"),
    ("Write to |john at example. com|, please.", "EMAIL"),
    ("My email is |john dot doe at example dot co dot uk| okay?", "EMAIL"),
    ("My email is |john.doe at example.com| okay?", "EMAIL"),
    ("My email is |johndoe at gmail dot com| okay?", "EMAIL"),
    ("My email is |john smith at gmail dot com| okay?", "EMAIL"),
    ("My email is |j o h n underscore 42 at g mail dot com| okay?", "EMAIL"),
    ("My email is |john dash doe at my dash company dot org| okay?", "EMAIL"),
    ("My email is |m a r i a at example dot com| okay?", "EMAIL"),
    ("My email is |maria underscore garcia ninety nine at mail dot example dot org| okay?", "EMAIL"),
    ("我的邮箱是|zhangsan@qq.com|谢谢", "EMAIL"),
    ("我的邮箱是|zhangsan艾特qq点com|谢谢", "EMAIL"),
    ("我的邮箱是|zhang san at 163 dot com|，谢谢", "EMAIL"),
    ("メールは|tanaka@example.co.jp|です", "EMAIL"),
    ("メールは|tanakaアットマークexampleドットコム|です", "EMAIL"),
    ("メールは|tanaka アットマーク example ドット co ドット jp| です", "EMAIL"),
    ("Mine is |o'brien@example.com| okay?", "EMAIL"),
    ("Mine is |a/b%c!d@example.com|, okay?", "EMAIL"),
    ("Mine is |john at one six three dot com| okay?", "EMAIL"),
    ("My email is |john at example dot museum| okay?", "EMAIL"),
    ("邮箱是|zhangsan艾特一六三点com|谢谢", "EMAIL"),
    ("邮箱是|一三八艾特qq点com|谢谢", "EMAIL"),
    ("メールは|タナカアットマークジーメールドットコム|です", "EMAIL"),
    ("メールは|田中アットマークジーメールドットコム|です", "EMAIL"),
    ("我的邮箱是|张三艾特qq点com|谢谢", "EMAIL"),
    ("アドレスは|tanakaアットマークジーメールドットコム|です", "EMAIL"),
    ("メールは|タナカアットマークジーメールドットシーオー|です", "EMAIL"),
    // IBAN.
    ("The account is |gb29 nwbk 6016 1331 9268 19| thanks.", "IBAN"),
    ("The account is |gb29nwbk60161331926819|, is it?", "IBAN"),
    ("The account is |DE89 3704 0044 0532 0130 00| thanks.", "IBAN"),
    ("The account is |DE89370400440532013000| thanks.", "IBAN"),
    ("The account is |GB29 NWBK 6016 1331 9268 19| thanks.", "IBAN"),
    ("The account is |GB29NWBK60161331926819| thanks.", "IBAN"),
    ("The account is |FR14 2004 1010 0505 0001 3M02 606| thanks.", "IBAN"),
    (
        "The account is |D E eight nine three seven oh four oh oh four four oh five three two oh one three oh oh oh| thanks.",
        "IBAN",
    ),
    ("A misheard digit |DE88 3704 0044 0532 0130 00| thanks.", "IBAN"),
];

#[test]
fn planted_values_are_taken_out_in_three_languages() {
    let mut wrong = Vec::new();
    for (text, kind) in PLANTED {
        let parts: Vec<&str> = text.split('|').collect();
        let expected = format!("{}[{kind}_1]{}", parts[0], parts[2]);
        let made = redacted(ALL, &parts.concat());
        if made != expected {
            wrong.push(format!("{text}\n    {made}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const INNOCENT: &[&str] = &[
    "In 2019 we moved.",
    "Between 2018, 2019, 2020, 2021 and 2022 nothing changed.",
    "It was in 2018-2019 or 2020 that we met.",
    "It costs $1,234.56 in all.",
    "The prices are 19.99, 24.99, 30.50, 12.00 each.",
    "We sold 1,234,567 of 2,345,678 units here.",
    "At 10:30 or 11:45 o'clock.",
    "On 2026-05-31 at 10:30 sharp.",
    "On 5/31/2026 or 31.05.2026 we met.",
    "My order number is 4839201746 I think.",
    "Order no. 4839201746 is late.",
    "The number of my order is 48392017 I think.",
    "My account number is 48392017 I think.",
    "My hotel booked 4839201 rooms.",
    "I cancelled 48392017 and typically 48392018 of them.",
    "The CARD years 2018, 2019, 2020, 2021 and 2022, 2023, 2024, 2025.",
    "The prices are 12.34, 23.45, 34.56, 45.67 and 12.35, 23.45, 34.56, 45.67 each.",
    "We have 15, 200, 3500 and 250 of them.",
    "We sold 12512 and 25123 units.",
    "200, 300, 1500 it was.",
    "Between 1980, 1990 and 2000 we had 25, 30 and 45 people each.",
    "The last four digits are 4242 and no more.",
    "We email at nine dot fifteen, and the email came at ten dot thirty.",
    "They have 1250, maybe it is 1350, maybe 1450 in all.",
    "Order 483920 has 3 items.",
    "Ticket 12345678 is open still.",
    "The order is four eight three nine two zero one seven four six I think.",
    "We are 25 people in 3 rooms.",
    "I have two dogs and three cats.",
    "There were two thousand five hundred people there.",
    "twenty twenty was hard, nineteen ninety five was not.",
    "They cost 25000 and 35000 yen here.",
    "One moment please.",
    "Look at example dot com for it.",
    "Meet me at ten dot thirty then.",
    "我们一起等一下，一个人来了三次。",
    "我在2019年买的，一共三千五百块钱。",
    "订单号是4839201746没错。",
    "第一次来的时候是五月三十一号上午十点。",
    "田中さんにご案内します。",
    "お客さんにご紹介いたします。",
    "ちょっと待ってください、はちみつをよんでください。",
    "令和三年五月三十一日の午後二時です。",
    "注文番号は4839201746です。",
    "予約の番号は48392017です。",
    "会员号码是48392017没错。",
    "我们有一二三四位。",
    "まる一日かかりました、まる三年です。",
    "那个四只狗，啊，三只猫，二零一九年买的。",
    "三つで、二つで、まるで一つだ。",
    "48392017 is my order number.",
    "コーヒー・紅茶・2019年もの・25個です。",
    "2019年に三千五百円で買いました。",
    "Meet me at noon. It is late.",
    "I work at home. No way. She was at home. TV is broken.",
    "My email was sent at noon. Nobody answered.",
    "He called 3 times between 2011 and 2023.",
    "郵便番号は748-3110です。",
    "in 12 weeks with many days and 45 more for it 3 times a year 2020 or so 12 12.",
];

#[test]
fn innocent_numbers_stay() {
    let taken: Vec<String> = INNOCENT
        .iter()
        .map(|text| (*text, redacted(ALL, text)))
        .filter(|(text, made)| text != made)
        .map(|(text, made)| format!("{text}\n    {made}"))
        .collect();
    assert!(taken.is_empty(), "{}", taken.join("\n"));
}

#[test]
fn a_country_with_00_has_fifteen_digits() {
    assert_eq!(redacted(r#"{"find": ["phone"]}"#, "It is 0049 151 23456789."), "It is [PHONE_1].");
}

#[test]
fn digits_are_runs_of_four_and_more() {
    let config = r#"{"find": ["digits"]}"#;
    for (text, expected) in [
        ("Pin 4242 and 17.", "Pin [DIGITS_1]."),
        ("Pin 4242, room 171.", "Pin [DIGITS_1], room 171."),
        ("It is four two four two or so.", "It is [DIGITS_1] or so."),
        ("密码是四二四二没错", "密码是[DIGITS_1]没错"),
        ("暗証番号はよん に よん にです", "暗証番号は[DIGITS_1]です"),
        ("In 2019, once, 3 of 100 people.", "In [DIGITS_1], once, 3 of 100 people."),
    ] {
        assert_eq!(redacted(config, text), expected);
    }
}

#[test]
fn the_same_value_has_the_same_token() {
    let mut call = Call::new(ALL);
    let partial =
        call.partial("the card is 4242 4242 4242 4242 and the phone is 555-123-4567, yes exactly so");
    assert_eq!(partial, "the card is [CARD_1] and the phone is [PHONE_1], yes exactly");
    let said = call.spoken(&["Now 378282246310005 it is.", "It is four two four two 4242 4242 4242 here."]);
    assert_eq!(said, ["Now [CARD_2] it is.", "It is [CARD_1] here."]);
}

#[test]
fn an_address_has_one_token_however_its_signs_are_said() {
    let ways = [
        "john@gmail.com",
        "john at gmail dot com",
        "john at the rate gmail, dot com",
        "john at sign gmail dot com",
    ];
    let mut call = Call::new(ALL);
    for way in ways {
        assert_eq!(call.spoken(&[&format!("It is {way} okay?")]), ["It is [EMAIL_1] okay?"], "{way}");
    }
}

#[test]
fn words_patterns_and_fillers() {
    let config = r#"{"find": [], "words": ["Project X", "cancel", "退款"], "patterns": ["\\bcase [a-z]\\d+"], "fillers": true}"#;
    for (text, expected) in [
        ("Um, project-x is CANCEL, not cancellation.", "[WORD_1] is [WORD_2], not cancellation."),
        ("我要退款。嗯，好", "我要[WORD_1]。好"),
        ("It is Case B17, uh, case b17.", "It is [PATTERN_1], [PATTERN_1]."),
        ("えっと、こんにちは", "こんにちは"),
    ] {
        assert_eq!(redacted(config, text), expected);
    }
    assert_eq!(
        Call::new(config).spoken(&["That is Project", "X now."]),
        ["That is [WORD_1]", "[WORD_1] now."]
    );
}

#[test]
fn a_mask_tells_nothing() {
    let config = r#"{"replace": "mask"}"#;
    assert_eq!(redacted(config, "It is 4242 4242 4242 4242, ok."), "It is ****, ok.");
}

#[test]
fn a_mistake_of_the_config_names_its_key() {
    for (config, expected) in [
        (r#"{"finds": []}"#, "unknown field `finds`"),
        (r#"{"find": ["cards"]}"#, "unknown variant `cards`"),
        (r#"{"find": []}"#, "nothing else is to be taken out"),
        (r#"{"words": ["ok", " ."]}"#, "words.1: "),
        (r#"{"patterns": ["(a"]}"#, "patterns.0: \"(a\": error: unclosed group"),
        (r#"{"patterns": ["a*"]}"#, "it matches the empty text"),
    ] {
        let mistake = hark_sdk::testing::Bench::<redact::Redact>::create(config).err().unwrap();
        assert!(mistake.contains(expected), "{config}: {mistake}");
    }
}
