//! Names of people, companies, places and counterparties, in English and Chinese.
//!
//! Owns: word lists and how they combine. Never: a real person's or company's data; telephone numbers are in a block
//! that no network has given out.

use super::dice::Dice;

/// A word in English and in Chinese.
pub(super) type Word = (&'static str, &'static str);

/// City and region of each branch.
pub(super) const CITIES: &[(Word, Word)] = &[
    (("Shanghai Huangpu", "上海黄浦"), ("Shanghai", "上海")),
    (("Shanghai Pudong", "上海浦东"), ("Shanghai", "上海")),
    (("Shanghai Minhang", "上海闵行"), ("Shanghai", "上海")),
    (("Nanjing", "南京"), ("Jiangsu", "江苏")),
    (("Suzhou", "苏州"), ("Jiangsu", "江苏")),
    (("Wuxi", "无锡"), ("Jiangsu", "江苏")),
    (("Changzhou", "常州"), ("Jiangsu", "江苏")),
    (("Nantong", "南通"), ("Jiangsu", "江苏")),
    (("Yangzhou", "扬州"), ("Jiangsu", "江苏")),
    (("Hangzhou", "杭州"), ("Zhejiang", "浙江")),
    (("Ningbo", "宁波"), ("Zhejiang", "浙江")),
    (("Wenzhou", "温州"), ("Zhejiang", "浙江")),
    (("Shaoxing", "绍兴"), ("Zhejiang", "浙江")),
    (("Jinhua", "金华"), ("Zhejiang", "浙江")),
    (("Hefei", "合肥"), ("Anhui", "安徽")),
    (("Wuhu", "芜湖"), ("Anhui", "安徽")),
    (("Nanchang", "南昌"), ("Jiangxi", "江西")),
    (("Fuzhou", "福州"), ("Fujian", "福建")),
    (("Xiamen", "厦门"), ("Fujian", "福建")),
    (("Qingdao", "青岛"), ("Shandong", "山东")),
];

const SURNAMES: &[Word] = &[
    ("Wang", "王"),
    ("Li", "李"),
    ("Zhang", "张"),
    ("Liu", "刘"),
    ("Chen", "陈"),
    ("Yang", "杨"),
    ("Huang", "黄"),
    ("Zhao", "赵"),
    ("Wu", "吴"),
    ("Zhou", "周"),
    ("Xu", "徐"),
    ("Sun", "孙"),
    ("Ma", "马"),
    ("Zhu", "朱"),
    ("Hu", "胡"),
    ("Guo", "郭"),
    ("He", "何"),
    ("Lin", "林"),
    ("Gao", "高"),
    ("Luo", "罗"),
    ("Ouyang", "欧阳"),
];
const WOMEN: &[Word] = &[
    ("Fang", "芳"),
    ("Na", "娜"),
    ("Min", "敏"),
    ("Jing", "静"),
    ("Li", "丽"),
    ("Yan", "艳"),
    ("Xiu", "秀"),
    ("Juan", "娟"),
    ("Ying", "英"),
    ("Hua", "华"),
    ("Yu", "玉"),
    ("Xue", "雪"),
    ("Mei", "梅"),
    ("Lan", "兰"),
];
const MEN: &[Word] = &[
    ("Wei", "伟"),
    ("Qiang", "强"),
    ("Lei", "磊"),
    ("Jun", "军"),
    ("Yong", "勇"),
    ("Jie", "杰"),
    ("Tao", "涛"),
    ("Ming", "明"),
    ("Chao", "超"),
    ("Gang", "刚"),
    ("Ping", "平"),
    ("Peng", "鹏"),
    ("Bo", "博"),
    ("Hao", "浩"),
];
const BRANDS: &[Word] = &[
    ("Hengda", "恒达"),
    ("Xinhai", "鑫海"),
    ("Dongfang", "东方"),
    ("Tianyuan", "天源"),
    ("Huaxin", "华信"),
    ("Jinlong", "金龙"),
    ("Ruifeng", "瑞丰"),
    ("Changsheng", "昌盛"),
    ("Mingzhu", "明珠"),
    ("Baolai", "宝来"),
    ("Longteng", "龙腾"),
    ("Yongan", "永安"),
    ("Zhongyi", "众益"),
    ("Haotian", "昊天"),
];
/// Industries of companies: the code's words, and the word in a company's name.
const INDUSTRIES: &[(&str, Word)] = &[
    ("manufacturing", ("Machinery", "机械")),
    ("manufacturing", ("Textile", "纺织")),
    ("wholesale and retail", ("Trading", "贸易")),
    ("wholesale and retail", ("Department Store", "百货")),
    ("construction", ("Construction", "建筑")),
    ("transport", ("Logistics", "物流")),
    ("catering", ("Catering", "餐饮")),
    ("information technology", ("Technology", "科技")),
    ("real estate", ("Property", "置业")),
    ("agriculture", ("Agriculture", "农业")),
    ("health", ("Medical", "医疗")),
    ("education", ("Education", "教育")),
];

/// Counterparties at other banks: bank, name.
pub(super) const SHOPS: &[Word] = &[
    ("ICBC", "Lianhua Supermarket"),
    ("CCB", "Metro Transport Card"),
    ("BOC", "Xinhua Bookstore"),
    ("CMB", "East Star Online Mall"),
    ("ABC", "Golden Wok Restaurant"),
    ("CMB", "City Pharmacy"),
    ("ICBC", "Sinopec Station 12"),
    ("BOCOM", "Cinema Palace"),
];
pub(super) const EMPLOYERS: &[Word] = &[
    ("ICBC", "Municipal Education Bureau"),
    ("CCB", "First People's Hospital"),
    ("BOC", "Yangtze Shipbuilding"),
    ("CMB", "Blue Cloud Software"),
    ("ABC", "Delta Foods Group"),
    ("BOCOM", "State Grid East"),
];
pub(super) const LANDLORDS: &[Word] = &[
    ("ICBC", "Harmony Housing Agency"),
    ("CCB", "Riverside Apartments"),
    ("PSBC", "Old Town Rentals"),
];
pub(super) const PUBLIC: &[Word] = &[("CBRC", "Social Insurance Fund"), ("CBRC", "Tax Bureau")];
pub(super) const PARTNERS: &[Word] = &[
    ("ICBC", "Pacific Export Co."),
    ("BOC", "Great Wall Components"),
    ("CCB", "Northern Steel Works"),
    ("CMB", "Silk Road Freight"),
    ("SPDB", "Bright Packaging"),
    ("CIB", "Southern Chemicals"),
];

/// A person's name in English order and in Chinese.
pub(super) fn person(dice: &mut Dice, woman: bool) -> (String, String) {
    let surname = dice.pick(SURNAMES);
    let given = if woman { WOMEN } else { MEN };
    let first = dice.pick(given);
    if dice.chance(0.6) {
        let second = dice.pick(given);
        let both = format!("{}{}", first.0, second.0.to_lowercase());
        (
            format!("{both} {}", surname.0),
            format!("{}{}{}", surname.1, first.1, second.1),
        )
    } else {
        (
            format!("{} {}", first.0, surname.0),
            format!("{}{}", surname.1, first.1),
        )
    }
}

/// A company's name in English and Chinese, and its industry.
pub(super) fn company(dice: &mut Dice, city: Word) -> (String, String, &'static str) {
    let brand = dice.pick(BRANDS);
    let (industry, word) = dice.pick(INDUSTRIES);
    let english = format!("{} {} {} Co., Ltd.", city.0, brand.0, word.0);
    (english, format!("{}{}{}有限公司", city.1, brand.1, word.1), industry)
}

/// A telephone number in a block that no network has given out.
pub(super) fn phone(dice: &mut Dice) -> String {
    format!("+86 160 {:04} {:04}", dice.whole(0, 9999), dice.whole(0, 9999))
}
